#include "launch/recipe/rules.h"

#include <gtest/gtest.h>

#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

TEST(Rules, DefaultsWithADataFileAreLegal) { EXPECT_EQ(broken_rule({}), "no fault"); }

TEST(Rules, LegalCombinationsPass) {
  EXPECT_EQ(broken_rule({"run.precision=float64", "run.device=cuda"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.bound.factor=3.0", "moe.capacity=factor"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.gate=raw", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.experts=1", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.layers=none", "moe.top_k=9"}), "no fault") << "a dense model uses no key of [moe]";
  EXPECT_EQ(broken_rule({"schedule.warmup=1000u"}), "no fault");
  EXPECT_EQ(broken_rule({"schedule.warmup=5000t"}), "no fault") << "tokens are compared when the corpus is known";
  EXPECT_EQ(broken_rule({"schedule.kind=warmup_stable_decay", "schedule.warmup_stable_decay.decay=900u"}), "no fault");
}

TEST(Rules, NamesMustNotBeEmpty) {
  EXPECT_EQ(broken_rule({"run.folder="}),
            "run.folder is empty; wanted a folder that the run makes, such as folder = \"runs/first\"");
  EXPECT_EQ(broken_rule({"data.file="}), "data.file is empty; wanted a token file written by `moetrain prepare`");
}

TEST(Rules, HeadsDivideTheWidthIntoEvenParts) {
  const std::string because = ", because rotary positions turn pairs; nearest legal width: ";
  const std::string otherwise = ", or say attention.head_width";
  EXPECT_EQ(broken_rule({"model.width=190"}),
            "model.width (190) must be an even multiple of model.heads (6)" + because + "180 or 192" + otherwise);
  EXPECT_EQ(broken_rule({"model.width=186"}),
            "model.width (186) must be an even multiple of model.heads (6)" + because + "180 or 192" + otherwise);
  EXPECT_EQ(broken_rule({"model.width=6"}),
            "model.width (6) must be an even multiple of model.heads (6)" + because + "12" + otherwise);
}

TEST(Rules, HeadsOfTheirOwnWidthAreEven) {
  EXPECT_EQ(broken_rule({"attention.head_width=32", "model.width=190"}), "no fault");
  EXPECT_EQ(broken_rule({"attention.head_width=33"}),
            "attention.head_width (33) must be even, because rotary positions turn pairs; nearest legal: 32 or 34");
}

TEST(Rules, AttentionFitsTheModel) {
  EXPECT_EQ(broken_rule({"attention.window=5", "attention.windowed=7"}),
            "attention.windowed = \"7\": block 7 is out of range; legal: 0 to 3, the model has 4 blocks");
  const std::string pairs = "model.kind=encoder_decoder";
  EXPECT_EQ(broken_rule({pairs, "model.encoder_layers=2", "attention.window=5"}).substr(0, 20), "attention.window = 5");
  EXPECT_EQ(broken_rule({pairs, "model.encoder_layers=2", "attention.sinks=true"}).substr(0, 22),
            "attention.sinks = true");
  EXPECT_EQ(broken_rule({"attention.rope=yarn", "attention.yarn.beta_slow=64"}),
            "attention.yarn.beta_slow (64) must be below attention.yarn.beta_fast (32)");
  EXPECT_EQ(broken_rule({"attention.rope=llama3", "attention.llama3.low_frequency=4"}),
            "attention.llama3.low_frequency (4) must be below attention.llama3.high_frequency (4)");
}

TEST(Rules, PositionsByDistanceTurnNothing) {
  const std::string relative = "attention.positions=relative";
  EXPECT_EQ(broken_rule({relative, "attention.head_width=33", "model.scaled_head=true"}), "no fault");
  EXPECT_EQ(broken_rule({relative, "attention.rope=yarn"}).substr(0, 23), "attention.rope = \"yarn\"");
  EXPECT_EQ(broken_rule({relative, "attention.relative.buckets=5"}),
            "attention.relative.buckets = 5; legal: an even number, at least 4");
  EXPECT_EQ(broken_rule({relative, "attention.relative.longest=16"}).substr(0, 36),
            "attention.relative.longest (16) must");
  EXPECT_EQ(broken_rule({"attention.kind=latent", "model.kv_heads=6", relative}).substr(0, 34),
            "attention.positions = \"relative\" w");
  EXPECT_EQ(broken_rule({"attention.kind=latent", "model.kv_heads=6", "attention.scaled=false"}).substr(0, 26),
            "attention.scaled = false w");
  EXPECT_EQ(broken_rule({"model.start_token=0"}).substr(0, 21), "model.start_token = 0");
}

TEST(Rules, LatentAttentionHasNeitherSharedHeadsNorWindows) {
  EXPECT_EQ(broken_rule({"attention.kind=latent", "model.kv_heads=6"}), "no fault");
  EXPECT_EQ(
      broken_rule({"attention.kind=latent"}),
      "model.kv_heads = 2 with attention.kind = \"latent\", whose heads share a latent and no keys; legal: kv_heads "
      "= 6, model.heads");
  EXPECT_EQ(broken_rule({"attention.kind=latent", "model.kv_heads=6", "attention.window=4"}),
            "attention.window = 4 with attention.kind = \"latent\"; legal: 0");
  EXPECT_EQ(broken_rule({"attention.kind=latent", "model.kv_heads=6", "attention.latent.turned_width=5"}),
            "attention.latent.turned_width (5) must be even; nearest legal: 4 or 6");
}

TEST(Rules, KeyValueHeadsDivideHeads) {
  EXPECT_EQ(broken_rule({"model.kv_heads=4"}),
            "model.kv_heads (4) must divide model.heads (6); nearest legal kv_heads: 3 or 6");
  EXPECT_EQ(broken_rule({"model.kv_heads=12"}),
            "model.kv_heads (12) must divide model.heads (6); nearest legal kv_heads: 6");
}

TEST(Rules, TheTensorGroupDividesHeadsAndDenseHiddenUnits) {
  EXPECT_EQ(broken_rule({"mesh.tensor=3", "model.kv_heads=2"}), "no fault") << "key/value heads need not divide";
  EXPECT_EQ(
      broken_rule({"mesh.tensor=4"}),
      "mesh.tensor = 4 does not divide model.heads = 6; nearest legal: mesh.tensor = 3 or 6, or model.heads = 4 or 8");
  EXPECT_EQ(broken_rule({"mesh.tensor=16", "model.heads=8"}),
            "mesh.tensor = 16 does not divide model.heads = 8; nearest legal: mesh.tensor = 8, or model.heads = 16");
  EXPECT_EQ(broken_rule({"mesh.tensor=3", "moe.layers=odd"}),
            "mesh.tensor = 3 does not divide model.ffn_hidden = 512; nearest legal: mesh.tensor = 2 or 4, or "
            "model.ffn_hidden = 510 or 513");
  EXPECT_EQ(broken_rule({"mesh.tensor=3", "moe.layers=all"}), "no fault") << "no feed-forward is dense";
}

TEST(Rules, OffloadIsOfCudaRuns) {
  EXPECT_EQ(broken_rule({"optimizer.offload=true", "run.device=cuda"}), "no fault");
  EXPECT_EQ(
      broken_rule({"optimizer.offload=true"}),
      "optimizer.offload = true, but with run.device = \"cpu\" all memory is the host's; legal: optimizer.offload = "
      "false, or run.device = \"cuda\"");
}

TEST(Rules, MicroBatchesDivideTheGlobalBatch) {
  EXPECT_EQ(broken_rule({"train.micro_batches=3"}),
            "train.global_batch (16) must be a multiple of train.micro_batches (3); nearest legal: global_batch = 15 "
            "or 18, or micro_batches = 2 or 4");
  EXPECT_EQ(broken_rule({"train.micro_batches=32"}),
            "train.global_batch (16) must be a multiple of train.micro_batches (32); nearest legal: global_batch = "
            "32, or micro_batches = 16");
}

TEST(Rules, TranslationTakesAnyMicroBatches) {  // its updates are of batch_tokens; global_batch has no say
  EXPECT_EQ(broken_rule({"model.kind=encoder_decoder", "model.encoder_layers=2", "train.micro_batches=3"}), "no fault");
}

TEST(Rules, KindAndEncoderAgree) {
  EXPECT_EQ(broken_rule({"model.kind=encoder_decoder"}),
            "model.encoder_layers (0) and model.kind (\"encoder_decoder\") contradict: there is no encoder; legal: "
            "encoder_layers of at least 1");
  EXPECT_EQ(
      broken_rule({"model.encoder_layers=2"}),
      "model.encoder_layers (2) and model.kind (\"decoder_lm\") contradict; legal: kind = \"encoder_decoder\" with "
      "at least 1, or encoder_layers = 0");
  EXPECT_EQ(broken_rule({"model.encoder_layers=2", "model.kind=encoder_decoder"}), "no fault");
}

TEST(Rules, ImagesHaveObjectivesOfTheirOwn) {
  EXPECT_EQ(
      broken_rule({"model.kind=diffusion_transformer"}),
      "objective.kind = \"next_token\" with model.kind = \"diffusion_transformer\", which says what noise an image "
      "has; legal: objective.kind of rectified_flow, ddpm, or model.kind of decoder_lm, encoder_decoder, classifier");
  EXPECT_EQ(broken_rule({"objective.kind=ddpm"}),
            "objective.kind = \"ddpm\" with model.kind = \"decoder_lm\", which says nothing of noise; legal: "
            "objective.kind of next_token, two_pass, distillation, pre_gate, or model.kind of diffusion_transformer");
  const auto of_images = [](const std::vector<std::string>& more) {
    std::vector<std::string> keys{"model.kind=diffusion_transformer"};
    keys.insert(keys.end(), more.begin(), more.end());
    return broken_rule(keys);
  };
  EXPECT_EQ(of_images({"objective.kind=rectified_flow"}), "no fault");
  EXPECT_EQ(of_images({"objective.kind=ddpm", "model.diffusion_transformer.learned_variance=true"}), "no fault");
  EXPECT_EQ(of_images({"objective.kind=rectified_flow", "moe.router=hash", "moe.top_k=1", "moe.gate=hard",
                       "moe.losses.load_balance=0", "moe.losses.router_z=0"}),
            "moe.router = \"hash\" in a model of images, whose patches have no ids; nearest legal: router = \"top_k\"");
  EXPECT_EQ(of_images({"objective.kind=ddpm"}),
            "model.diffusion_transformer.learned_variance = false with objective.kind = \"ddpm\", which learns "
            "variances; legal: learned_variance = true");
  EXPECT_EQ(
      of_images({"objective.kind=rectified_flow", "model.diffusion_transformer.patch=3"}),
      "model.diffusion_transformer.patch (3) must divide model.diffusion_transformer.height (28); legal: a divisor "
      "of it such as 1");
}

TEST(Rules, BlocksWithExpertsAreCountedOverEncoderAndDecoder) {
  const std::vector<std::string> both{"model.encoder_layers=2", "model.kind=encoder_decoder", "model.layers=2"};
  const auto with = [&](const std::string& more) {
    std::vector<std::string> keys = both;
    keys.push_back(more);
    return broken_rule(keys);
  };
  EXPECT_EQ(with("moe.layers=0,3"), "no fault");
  EXPECT_TRUE(with("moe.layers=4").starts_with("moe.layers = \"4\": block 4 is out of range; legal: 0 to 3"));
}

TEST(Rules, TwoPassesNeedDraws) {
  const std::string refusal =
      "objective.kind = \"two_pass\", but nothing is drawn in training, so both passes would be equal; legal: "
      "model.dropout > 0, moe.router = \"thor\" (or gshard, noisy_top_k), moe.jitter > 0, or a capacity with "
      "moe.bound.drop "
      "= \"random\"";
  const std::string two = "objective.kind=two_pass";
  EXPECT_EQ(broken_rule({two}), refusal);
  EXPECT_EQ(broken_rule({two, "moe.layers=none", "moe.jitter=0.01"}), refusal) << "nothing of [moe] is used";
  EXPECT_EQ(broken_rule({two, "model.dropout=0.1"}), "no fault");
  EXPECT_EQ(broken_rule({two, "moe.jitter=0.01"}), "no fault");
  EXPECT_EQ(broken_rule({two, "moe.bound.drop=random", "moe.capacity=factor"}), "no fault");
  EXPECT_EQ(broken_rule(unlearned("thor", {two})), "no fault");
}

TEST(Rules, DistillationNeedsATeacher) {
  EXPECT_EQ(
      broken_rule({"objective.kind=distillation"}),
      "objective.kind = \"distillation\" needs objective.distillation.teacher, the run folder of a trained model");
  EXPECT_EQ(broken_rule({"objective.kind=distillation", "objective.distillation.teacher=runs/teacher"}), "no fault");
}

TEST(Rules, WarmupAndDecayFitIntoTheLength) {
  EXPECT_EQ(broken_rule({"train.length=50u"}),
            "schedule.warmup (\"100u\") is longer than train.length (\"50u\"); nearest legal: warmup = \"50u\" or "
            "length = \"100u\"");
  const std::string stable = "schedule.kind=warmup_stable_decay";
  EXPECT_EQ(
      broken_rule({stable, "schedule.warmup_stable_decay.decay=1001u", "schedule.warmup=0t"}),
      "schedule.warmup_stable_decay.decay (\"1001u\") is longer than train.length (\"1000u\"); nearest legal: decay = "
      "\"1000u\" or length = \"1001u\"");
  EXPECT_EQ(broken_rule({stable, "schedule.warmup_stable_decay.decay=950u"}),
            "schedule.warmup (\"100u\") and schedule.warmup_stable_decay.decay (\"950u\") together are longer than "
            "train.length "
            "(\"1000u\"); nearest legal: decay = \"900u\" or length = \"1050u\"");
}

TEST(Rules, AnAdapterHasARankAndDropsWhatHasAPlace) {
  const std::string rank = recipe_fault("[lora]\nrank = 0\n");
  EXPECT_NE(rank.find("rank = 0"), std::string::npos) << rank;
  EXPECT_NE(rank.find("1 to 65536"), std::string::npos) << rank;
  EXPECT_EQ(broken_rule({"lora.layers=*.query", "lora.dropout=0.1"}), "no fault");
  EXPECT_EQ(
      broken_rule({"lora.layers=*.query", "lora.dropout=0.1", "model.kind=encoder_decoder", "model.encoder_layers=2"}),
      "lora.dropout = 0.1 with model.kind = \"encoder_decoder\"; legal: lora.dropout = 0");
}

}  // namespace
}  // namespace launch
