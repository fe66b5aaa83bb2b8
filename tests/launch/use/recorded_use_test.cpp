// What a recording adds up: against formulae by hand, and the same on any number of ranks in any batches.
#include <gtest/gtest.h>

#include "launch/evaluation/evaluation.h"
#include "launch/use/use_recorder.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/tiny_pairs.h"

namespace {

using launch::ExpertUse;
using launch::LayerPart;
using launch::LayerUse;

std::vector<at::Tensor> counts_of(const LayerUse& layer) {
  return {layer.seen_G, layer.chosen_GE, layer.together_GEE, layer.computing_GN, layer.rows_GR};
}

std::vector<at::Tensor> sums_of(const LayerUse& layer) {
  return {layer.gates_GE, layer.input_square_GRD, layer.hidden_square_GRF, layer.hidden_absolute_GRF};
}

/// In the place of every attention, beside the experts in that of every feed-forward.
void give_modules(launch::Recipe& recipe) {
  moetrain::MoeConfig heads = recipe.moe;
  heads.name = "heads", heads.expert = "heads", heads.experts = 5, heads.hidden = 24;
  recipe.moe.named = {heads};
  recipe.moe.placement = "moe:all; heads.attention:all";
}

class RecordedUseTest : public testing::Test {
 protected:
  ExpertUse recorded(launch::Recipe recipe, moetrain::Model& model, int64_t batch, const launch::Groups& groups) {
    recipe.evaluate.batch = batch;
    const auto corpus = data::TokenMixture::open(recipe.data.file);
    const auto held_out = launch::make_held_out_batches(corpus, recipe, groups.shard);
    launch::UseRecorder recorder(launch::group_names(*held_out), recipe.model_preset().stacks(recipe.model));
    launch::evaluate(model, *recipe.objective_preset().make({recipe.objective, nullptr}), *held_out, groups, &recorder);
    return recorder.sums(*groups.control);
  }

  /// The same, of the recipe's first weights, on all ranks against one.
  void expect_same(const launch::Recipe& recipe, const std::string& name) {
    const auto corpus = data::TokenMixture::open(recipe.data.file);
    const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU);
    const ExpertUse spread = recorded(recipe, *model, recipe.data.directions.empty() ? 5 : 90, test_groups());
    const ExpertUse whole = recorded(recipe, *model, recipe.data.directions.empty() ? 16 : 400, launch::local_groups());
    ASSERT_EQ(spread.groups, whole.groups) << name;
    ASSERT_EQ(spread.layers.size(), whole.layers.size()) << name;
    ASSERT_FALSE(whole.layers.empty()) << name;
    for (size_t i = 0; i < whole.layers.size(); ++i) {
      const LayerUse &here = spread.layers[i], &there = whole.layers[i];
      EXPECT_EQ(launch::layer_key(here), launch::layer_key(there)) << name;
      EXPECT_EQ(here.units, there.units) << name;
      for (size_t c = 0; c < counts_of(there).size(); ++c) {
        EXPECT_TRUE(counts_of(here)[c].equal(counts_of(there)[c]))
            << name << ", " << launch::layer_key(there) << ", " << c;
      }
      for (size_t s = 0; s < sums_of(there).size(); ++s) {
        EXPECT_TRUE(at::allclose(sums_of(here)[s], sums_of(there)[s], 1e-10, 1e-12))
            << name << ", " << launch::layer_key(there) << ", " << s;
      }
      EXPECT_GT(there.seen_G.sum().item<int64_t>(), 0) << name;
    }
  }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"use", *world_};
  std::string corpus_ = make_tiny_corpus(folder_, *world_);
};

TEST_F(RecordedUseTest, IsTheSameOnAnyRanksInAnyBatches) {
  expect_same(tiny_recipe(corpus_), "top-2");
  launch::Recipe some = tiny_recipe(corpus_);
  some.moe.layers = "odd";
  some.moe.shared_hidden = 20;
  some.model.activation = "gelu";
  expect_same(some, "dense blocks, and a shared expert");
  launch::Recipe nulls = tiny_recipe(corpus_);
  nulls.moe.null_experts = 6;
  nulls.moe.copy_experts = 1;
  nulls.moe.top_k = 4;
  nulls.moe.gate = "true1";
  expect_same(nulls, "null and copy experts");
  launch::Recipe mixed = tiny_recipe(corpus_);
  mixed.moe.expert = "feed_forward:4,feed_forward(8):2";
  mixed.moe.latent = 12;
  expect_same(mixed, "two widths, latent");
  launch::Recipe clamped = tiny_recipe(corpus_);
  clamped.moe.expert = "clamped_swiglu:2,feed_forward(8):4";
  clamped.moe.router = "top_p";
  expect_same(clamped, "two kinds, as many as a token needs");
  launch::Recipe modules = tiny_recipe(corpus_);
  give_modules(modules);
  expect_same(modules, "modules in the place of attentions");
}

TEST_F(RecordedUseTest, OfATranslatorsSidesIsTheSameOnAnyRanks) {
  launch::Recipe recipe = tiny_translation_recipe(make_tiny_pairs(folder_, *world_));
  recipe.moe.layers = "1,2";
  expect_same(recipe, "encoder and decoder");
}

/// What an observer is shown.
struct Shown : moetrain::LayerObserver {
  void see(const moetrain::ObservedFeedForward& layer) override { dense.push_back(layer); }
  void see(const moetrain::ObservedExperts& layer) override {
    input.push_back(layer.input_TD);
    decision.push_back(layer.decision);
  }
  std::vector<moetrain::ObservedFeedForward> dense;
  std::vector<at::Tensor> input;
  std::vector<moetrain::RoutingDecision> decision;
};

at::Tensor hidden_by_hand(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor g = at::matmul(x, gate);
  return g * at::sigmoid(g) * at::matmul(x, up);
}

/// Of attention modules: what each choice's queries saw, by module and group.
struct ShownModules : moetrain::LayerObserver {
  void see(const moetrain::ObservedFeedForward&) override {}
  void see(const moetrain::ObservedExperts& layer) override {
    if (layer.slot != moetrain::Slot::kAttention || layer.layer != 1) return;
    chosen_TK = layer.decision.chosen_TK;
    hidden_TKF = layer.hidden_TKF;
  }
  at::Tensor chosen_TK, hidden_TKF;
};

TEST_F(RecordedUseTest, OfModulesIsWhatTheirQueriesSaw) {
  launch::Recipe recipe = tiny_recipe(corpus_);
  give_modules(recipe);
  const launch::Groups alone = launch::local_groups();
  const auto corpus = data::TokenMixture::open(corpus_);
  const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU);
  const ExpertUse use = recorded(recipe, *model, 7, alone);
  ASSERT_EQ(use.layers.size(), 4U);
  const LayerUse& modules = launch::layer_use(use, "here", 1, LayerPart::kModules, 5);
  EXPECT_EQ(launch::layer_key(modules), "block_1_modules");
  EXPECT_EQ(modules.units, std::vector<int64_t>(5, 24));
  at::Tensor absolute = at::zeros({std::ssize(use.groups), 5, 24}, at::kDouble),
             chosen = at::zeros({std::ssize(use.groups), 5}, at::kLong);
  const auto held_out = launch::make_held_out_batches(corpus, recipe, alone.shard);
  const at::NoGradGuard no_gradient;
  for (int64_t b = 0; b < held_out->count(); ++b) {
    const launch::MicroBatch batch = held_out->read(b);
    ShownModules shown;
    model->forward(batch.batch.inputs, {.group = *alone.tokens, .observer = &shown});
    for (int64_t t = 0; t < batch.groups_T.size(0); ++t) {
      if (batch.batch.targets_G[t].item<int64_t>() == moetrain::OutputHead::kIgnored) continue;
      const auto g = batch.groups_T[t].item<int64_t>();
      for (int64_t k = 0; k < shown.chosen_TK.size(1); ++k) {
        const auto e = shown.chosen_TK[t][k].item<int64_t>();
        chosen[g][e] += 1;
        absolute[g][e] += shown.hidden_TKF[t][k].abs();
      }
    }
  }
  EXPECT_TRUE(modules.chosen_GE.equal(chosen));
  EXPECT_TRUE(at::allclose(modules.hidden_absolute_GRF, absolute, 1e-10, 1e-12));
}

TEST_F(RecordedUseTest, IsWhatItsFormulaeSay) {
  launch::Recipe recipe = tiny_recipe(corpus_);
  recipe.moe.layers = "1";
  recipe.moe.expert = "feed_forward:4,feed_forward(8):2";
  recipe.moe.null_experts = 3;
  recipe.moe.top_k = 3;
  recipe.moe.gate = "true1";
  const launch::Groups alone = launch::local_groups();
  const auto corpus = data::TokenMixture::open(corpus_);
  const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU);
  const ExpertUse use = recorded(recipe, *model, 7, alone);
  ASSERT_EQ(use.layers.size(), 2U);

  const auto held_out = launch::make_held_out_batches(corpus, recipe, alone.shard);
  const at::NoGradGuard no_gradient;
  const auto groups = std::ssize(use.groups);
  const int64_t E = 9, R = 6, F = 16;
  const auto options = at::TensorOptions(at::kDouble);
  at::Tensor chosen = at::zeros({groups, E}, options), gates = at::zeros({groups, E}, options),
             together = at::zeros({groups, E, E}, options), number = at::zeros({groups, 4}, options),
             input = at::zeros({groups, R, 24}, options), square = at::zeros({groups, R, F}, options),
             absolute = at::zeros({groups, R, F}, options), dense = at::zeros({groups, 36}, options);
  std::map<std::string, at::Tensor> weights;
  for (const auto& parameter : model->named_parameters()) weights[parameter.key()] = parameter.value();
  const auto matrix = [&](const char* name, int64_t e) {
    const std::string key = std::string("blocks.1.moe.experts.") + name;
    return e < 4 ? weights.at(key)[e] : weights.at(key + "_8")[e - 4];
  };
  for (int64_t b = 0; b < held_out->count(); ++b) {
    const launch::MicroBatch batch = held_out->read(b);
    Shown shown;
    model->forward(batch.batch.inputs, {.group = *alone.tokens, .observer = &shown});
    for (int64_t t = 0; t < batch.groups_T.size(0); ++t) {
      if (batch.batch.targets_G[t].item<int64_t>() == moetrain::OutputHead::kIgnored) continue;
      const auto g = batch.groups_T[t].item<int64_t>();
      const at::Tensor x = shown.input[0][t];
      int64_t computing = 0;
      std::vector<int64_t> own;
      for (int64_t k = 0; k < 3; ++k) {
        const auto e = shown.decision[0].chosen_TK[t][k].item<int64_t>();
        own.push_back(e);
        gates[g][e] += shown.decision[0].gate_TK[t][k];
        if (e >= R) continue;
        ++computing;
        const at::Tensor a = hidden_by_hand(x, matrix("gate", e), matrix("up", e));
        input[g][e] += x * x;
        square[g][e].narrow(0, 0, a.size(0)) += a * a;
        absolute[g][e].narrow(0, 0, a.size(0)) += a.abs();
      }
      for (const int64_t e : own) {
        chosen[g][e] += 1;
        for (const int64_t f : own) together[g][e][f] += 1;
      }
      number[g][computing] += 1;
      const std::string ffn = "blocks.0.feed_forward.";
      dense[g] += hidden_by_hand(shown.dense[0].input_TD[t], weights.at(ffn + "gate.weight").t(),
                                 weights.at(ffn + "up.weight").t())
                      .abs();
    }
  }
  const LayerUse& moe = launch::layer_use(use, "here", 1, LayerPart::kExperts, R);
  EXPECT_EQ(moe.units, (std::vector<int64_t>{16, 16, 16, 16, 8, 8}));
  EXPECT_TRUE(moe.chosen_GE.to(at::kDouble).equal(chosen));
  EXPECT_TRUE(moe.together_GEE.to(at::kDouble).equal(together));
  EXPECT_TRUE(moe.computing_GN.to(at::kDouble).equal(number));
  EXPECT_TRUE(moe.rows_GR.to(at::kDouble).equal(chosen.narrow(1, 0, R)));
  EXPECT_TRUE(at::allclose(moe.gates_GE, gates, 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(moe.input_square_GRD, input, 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(moe.hidden_square_GRF, square, 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(moe.hidden_absolute_GRF, absolute, 1e-10, 1e-12));
  EXPECT_GT(number.sum(0).narrow(0, 0, 3).sum().item<double>(), 0);  // some took null experts
  const LayerUse& ffn = launch::layer_use(use, "here", 0, LayerPart::kDense, 1);
  EXPECT_TRUE(at::allclose(ffn.hidden_absolute_GRF.squeeze(1), dense, 1e-10, 1e-12));
  EXPECT_TRUE(ffn.seen_G.equal(moe.seen_G));
}

}  // namespace
