#include "launch/interchange/architecture.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "moetrain/routers/router.h"
#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

using Edit = std::function<void(ModelShape&)>;

ModelShape edited(const Edit& edit) {
  ModelShape shape = tiny_shape();
  edit(shape);
  return shape;
}

nlohmann::json config_of(const ModelShape& shape) {
  return nlohmann::json::parse(config_json(shape, /*end_of_text=*/2, "float32"));
}

TEST(Architecture, MixtralIsExpertsEverywhereAndNothingElse) {
  EXPECT_EQ(choose_architecture(tiny_shape()), Architecture::kMixtral);
  EXPECT_FALSE(needs_zero_shared_expert(tiny_shape()));
}

TEST(Architecture, NoExpertsIsLlamaWhateverTheMoeSectionSays) {
  const ModelShape shape = edited([](ModelShape& s) {
    s.moe.layers = "none";
    s.moe.capacity = "factor";
    s.moe.shared_hidden = 7;
  });
  EXPECT_EQ(choose_architecture(shape), Architecture::kLlama);
}

TEST(Architecture, OtherMixturesAreQwen2Moe) {
  const std::vector<Edit> edits = {[](ModelShape& s) { s.moe.gate = "raw"; },
                                   [](ModelShape& s) { s.moe.layers = "odd"; },
                                   [](ModelShape& s) { s.moe.shared_hidden = 7; }};
  for (const Edit& edit : edits) {
    const ModelShape shape = edited(edit);
    EXPECT_EQ(choose_architecture(shape), Architecture::kQwen2Moe);
    EXPECT_EQ(needs_zero_shared_expert(shape), shape.moe.shared_hidden == 0);
  }
}

TEST(Architecture, WhatTransformersLacksIsRefusedByKey) {
  const auto refused = [](const Edit& edit, const std::vector<std::string>& words) {
    expect_user_error([&] { choose_architecture(edited(edit)); }, words);
  };
  refused([](ModelShape& s) { s.model.norm = "layer"; }, {"model.norm", "\"layer\"", "\"rms\""});
  refused([](ModelShape& s) { s.model.activation = "gelu"; }, {"model.activation", "\"gelu\"", "\"swiglu\""});
  refused([](ModelShape& s) { s.model.kind = "encoder_decoder"; }, {"model.kind", "\"decoder_lm\""});
  for (const std::string& router : moetrain::builtin_routers().names()) {
    if (router == "top_k") continue;
    expect_user_error([&] { choose_architecture(edited([&](ModelShape& s) { s.moe.router = router; })); },
                      {"moe.router", "\"" + router + "\"", "\"top_k\""});
  }
  refused([](ModelShape& s) { s.moe.gate = "hard"; }, {"moe.gate", "\"hard\"", "\"sum1\", \"raw\""});
  refused([](ModelShape& s) { s.moe.capacity = "factor"; }, {"moe.capacity", "\"factor\"", "\"dropless\""});
  refused([](ModelShape& s) { s.model.activation = "relu"; }, {"model.activation", "\"relu\"", "\"swiglu\""});
  refused([](ModelShape& s) { s.moe.experts_by_layer = {4, 8}; }, {"moe.experts_by_layer", "\"[4, 8]\"", "[]"});
  refused([](ModelShape& s) { s.moe.zero_experts = 1; }, {"moe.zero_experts", "\"1\"", "export: 0"});
  refused([](ModelShape& s) { s.moe.copy_experts = 2; }, {"moe.copy_experts", "\"2\"", "export: 0"});
  refused([](ModelShape& s) { s.moe.constant_experts = 1; }, {"moe.constant_experts", "\"1\"", "export: 0"});
  refused([](ModelShape& s) { s.moe.null_experts = 1; }, {"moe.null_experts", "\"1\"", "export: 0"});
  refused([](ModelShape& s) { s.moe.latent = 3; }, {"moe.latent", "\"3\"", "export: 0"});
  refused([](ModelShape& s) { s.moe.shared_combine = "residual", s.moe.shared_hidden = 7; },
          {"moe.shared_combine", "\"residual\"", "\"add\""});
  refused([](ModelShape& s) { s.moe.layers = "0,9"; }, {"moe.layers"});
}

TEST(Architecture, MixtralConfigHoldsTheModelsNumbers) {
  const nlohmann::json config = config_of(tiny_shape());
  EXPECT_EQ(config["architectures"], nlohmann::json({"MixtralForCausalLM"}));
  EXPECT_EQ(config["model_type"], "mixtral");
  const std::map<std::string, int> numbers = {{"vocab_size", 300},        {"hidden_size", 4},
                                              {"num_hidden_layers", 2},   {"num_attention_heads", 2},
                                              {"num_key_value_heads", 1}, {"intermediate_size", 5},
                                              {"num_local_experts", 3},   {"num_experts_per_tok", 2},
                                              {"eos_token_id", 2},        {"max_position_embeddings", 16}};
  for (const auto& [key, value] : numbers) EXPECT_EQ(config[key], value) << key;
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_parameters"]["rope_theta"], 10000.0);
  EXPECT_TRUE(config["rope_theta"].is_number_float());  // transformers refuses a whole number here
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["dtype"], "float32");
}

TEST(Architecture, Qwen2MoeConfigTellsGateDenseBlocksAndSharedExpert) {
  nlohmann::json config = config_of(edited([](ModelShape& s) {
    s.moe.layers = "odd";
    s.moe.gate = "raw";
  }));
  EXPECT_EQ(config["model_type"], "qwen2_moe");
  EXPECT_EQ(config["mlp_only_layers"], nlohmann::json({0}));
  EXPECT_EQ(config["norm_topk_prob"], false);
  EXPECT_EQ(config["qkv_bias"], false);
  EXPECT_EQ(config["intermediate_size"], 6);
  EXPECT_EQ(config["moe_intermediate_size"], 5);
  EXPECT_EQ(config["shared_expert_intermediate_size"], 1);  // all zeros
  config = config_of(edited([](ModelShape& s) { s.moe.shared_hidden = 7; }));
  EXPECT_EQ(config["mlp_only_layers"], nlohmann::json::array());
  EXPECT_EQ(config["norm_topk_prob"], true);
  EXPECT_EQ(config["shared_expert_intermediate_size"], 7);
}

TEST(Architecture, LlamaConfigIsTheDenseShape) {
  const nlohmann::json config = config_of(edited([](ModelShape& s) { s.moe.layers = "none"; }));
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["intermediate_size"], 6);
  EXPECT_EQ(config["attention_bias"], false);
  EXPECT_FALSE(config.contains("num_experts_per_tok"));
}

TEST(Architecture, GenerationIsGreedyUntilTheEndOfText) {
  const nlohmann::json config = nlohmann::json::parse(generation_config_json(2));
  EXPECT_EQ(config["eos_token_id"], 2);
  EXPECT_EQ(config["do_sample"], false);
}

}  // namespace
}  // namespace launch::interchange
