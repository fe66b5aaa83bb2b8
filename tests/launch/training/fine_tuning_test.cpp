// What is frozen stays as it is and costs nothing; adapters learn the same on every layout, and go on on any other.
#include <set>

#include "launch/planning/memory_model.h"
#include "launch/planning/parameter_table.h"
#include "tests/launch/training/trainer_fixture.h"

namespace {

class FineTuning : public TrainerTest {
 protected:
  /// Adapters of attention, experts and dense feed-forwards, on a start that has none.
  launch::Recipe adapted(const std::string& folder) {
    launch::Recipe recipe = recipe_in(folder, "float64");
    recipe.moe.layers = "odd";
    recipe.lora = {.layers = "*.attention.*, *.experts.*, *.feed_forward.*", .rank = 3, .alpha = 5};
    return recipe;
  }
  /// Of each slot the parameters that a checkpoint has it of.
  static std::set<std::string> with_state(const launch::Recipe& recipe) {
    std::set<std::string> names;
    for (const char* slot : {"optimizer/first_moment", "optimizer/second_moment"}) {
      for (const auto& stored : launch::stored_tensors(launch::checkpoint_path(recipe.run.folder, 6), slot)) {
        names.insert(stored.path.substr(std::string(slot).size() + 1));
      }
    }
    return names;
  }
  void forget_last(const launch::Recipe& recipe) {
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(recipe.run.folder, 6));
    });
  }
  static double apart(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, (a[i] - b[i]).abs().max().item<double>());
    return worst;
  }
};

TEST_F(FineTuning, FrozenParametersKeepTheirBitsAndHaveNoState) {
  launch::Recipe recipe = recipe_in("frozen", "float32");
  recipe.train.frozen = "embedding.*, *.router.*, blocks.0.*";
  recipe.mesh.zero = 1;
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  const auto model = launch::build_model(recipe, 257, at::kCPU);
  const auto after = saved_parameters(recipe, 6);
  const std::set<std::string> state = with_state(recipe);
  size_t i = 0, frozen = 0;
  for (const auto& [name, tensor] : launch::named_parameters(*model)) {
    EXPECT_EQ(at::equal(after[i++], tensor.detach().to(at::kDouble)), !tensor.requires_grad()) << name;
    EXPECT_EQ(state.contains(name), tensor.requires_grad()) << name;
    frozen += tensor.requires_grad() ? 0 : 1;
  }
  EXPECT_GT(frozen, 5u);
  EXPECT_GT(state.size(), 5u);
  if (world_->rank() != 0) return;
  const nlohmann::json parameters = metrics_of(recipe).at(0).at("parameters");
  EXPECT_EQ(parameters.at("trained"), model->parameter_count().trained);
  EXPECT_LT(parameters.at("trained"), parameters.at("total"));
}

/// With the norms of the others' gradients alone in the clipping, which is therefore off.
TEST_F(FineTuning, AFactorOfZeroIsAsGoodAsFrozenAndOthersCount) {
  launch::Recipe frozen = recipe_in("frozen_part", "float64"), still = recipe_in("still_part", "float64");
  frozen.optimizer.clip_norm = still.optimizer.clip_norm = 0;
  frozen.train.frozen = "*.router.*, *.attention.*";
  still.optimizer.learning_rate_factors = "*.router.*: 0, *.attention.*: 0, *: 1";
  const UpdateTrace a = run_updates(frozen, launch::local_groups(), 3),
                    b = run_updates(still, launch::local_groups(), 3);
  for (size_t i = 0; i < a.parameters.size(); ++i) EXPECT_TRUE(at::equal(a.parameters[i], b.parameters[i])) << i;
  still.optimizer.learning_rate_factors = "*: 0.5";
  launch::Recipe slower = recipe_in("slower", "float64");
  slower.optimizer.clip_norm = 0;
  slower.optimizer.learning_rate /= 2;
  const UpdateTrace c = run_updates(still, launch::local_groups(), 3),
                    d = run_updates(slower, launch::local_groups(), 3);
  for (size_t i = 0; i < c.parameters.size(); ++i) EXPECT_TRUE(at::equal(c.parameters[i], d.parameters[i])) << i;
  EXPECT_GT(apart(a.parameters, c.parameters), 1e-6);
}

TEST_F(FineTuning, AdaptersAgreeWithOneRankOnEveryLayoutAndByEveryUpdateRule) {
  for (const std::string& rule : optim::builtin_updates().names()) {
    launch::Recipe recipe = adapted("layouts_of_" + rule);
    recipe.optimizer.kind = rule;
    const UpdateTrace reference = trace_of_one_rank(recipe, 3);
    std::vector<parallel::MeshConfig> layouts = test_layouts(recipe, world_->size());
    if (world_->size() == 4) layouts.push_back({.tensor = 2, .expert_tensor = 4, .zero = 1});
    if (world_->size() % 2 == 0) layouts.push_back({.expert_tensor = 2});
    for (const parallel::MeshConfig& mesh : layouts) {
      const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world_->size()));
      SCOPED_TRACE(rule + ": " + groups.mesh->shape().describe());
      expect_same_trace(run_updates(recipe, groups, 3), reference, 1e-10);
    }
  }
}

TEST_F(FineTuning, AdaptersStartOnARunThatHasNoneAndGoOnOnAnotherLayout) {
  launch::Recipe base = recipe_in("base", "float64");
  base.moe.layers = "odd";
  ASSERT_EQ(run(base), launch::Trainer::End::kDone);
  launch::Recipe whole = adapted("adapted"), cut = adapted("adapted_cut");
  whole.train.start = cut.train.start = base.run.folder;
  ASSERT_EQ(run(whole), launch::Trainer::End::kDone);
  cut.mesh = {.tensor = world_->size(), .zero = 1};
  ASSERT_EQ(run(cut), launch::Trainer::End::kDone);
  forget_last(cut);
  cut.mesh = with_experts({.zero = 2}, cut, world_->size() == 4 ? 2 : world_->size(), world_->size() == 4 ? 2 : 1);
  ASSERT_EQ(run(cut, /*resume=*/true), launch::Trainer::End::kDone);
  EXPECT_LE(apart(saved_parameters(whole, 6), saved_parameters(cut, 6)), 1e-10);
  // The base is the start's, bit for bit; adapters alone have state, and have learnt.
  const auto model = launch::build_model(whole, 257, at::kCPU), start = launch::build_model(base, 257, at::kCPU);
  launch::read_checkpoint(launch::checkpoint_path(base.run.folder, 6), launch::parameter_tensors(*start));
  const auto from = start->named_parameters();
  const auto after = saved_parameters(cut, 6);
  const std::set<std::string> state = with_state(cut);
  size_t i = 0;
  for (const auto& [name, tensor] : launch::named_parameters(*model)) {
    const bool adapter = model->adapters().has_parameter(name);
    EXPECT_EQ(state.contains(name), adapter) << name;
    if (adapter) {
      EXPECT_GT(after[i++].abs().max().item<double>(), 0) << name;
    } else {
      EXPECT_TRUE(at::equal(after[i++], from[name].detach())) << name;
    }
  }
  // Going on from it with other adapters, or none, would lose these.
  launch::Recipe lost = adapted("adapted_lost");
  lost.train.start = whole.run.folder;
  lost.lora.rank = 4;
  EXPECT_THROW(run(lost), parallel::UserError);
}

TEST_F(FineTuning, CostsWhatItTrains) {
  launch::Recipe recipe = adapted("costs");
  const int64_t ranks = world_->size();
  for (const parallel::MeshConfig& mesh : test_layouts(recipe, ranks)) {
    recipe.mesh = mesh;
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, ranks));
    const auto model = launch::build_model(recipe, 257, at::kCPU, groups.mesh);
    const auto reducer = launch::build_reducer(recipe, *model, groups.mesh);
    const auto table = launch::count_parameters(recipe, 257, ranks, world_->rank());
    int64_t adapters = 0;
    for (const auto& [name, tensor] : launch::named_parameters(*model)) {
      if (model->adapters().has_parameter(name)) adapters += tensor.numel();
    }
    EXPECT_EQ(table.trained_elements(), adapters);
    EXPECT_EQ(reducer->bytes(), adapters * 8);
    EXPECT_LT(10 * table.trained, 6 * table.total);
    const launch::StateMemory memory = launch::state_memory(recipe, table);
    EXPECT_EQ(memory.weights, table.elements() * 8);
    if (mesh.zero == 0) {
      EXPECT_EQ(memory.gradients + memory.optimizer, 3 * adapters * 8);
    }
    EXPECT_EQ(table.trained, model->parameter_count().trained);
  }
}

TEST_F(FineTuning, WhatFitsNothingIsRefusedWithWhatIsNear) {
  const auto refusal = [&](auto change) {
    launch::Recipe recipe = adapted("refused");
    recipe.lora = {};
    change(recipe);
    try {
      launch::build_model(recipe, 257, at::kMeta);
    } catch (const parallel::UserError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(refusal([](auto& r) { r.train.frozen = "*.router.*"; }), "no error");
  const std::string frozen = refusal([](auto& r) { r.train.frozen = "*.rooter.*"; });
  EXPECT_EQ(frozen.find("train.frozen: '*.rooter.*' fits none of the model's "), 0u) << frozen;
  EXPECT_NE(frozen.find(" parameters; nearest: blocks.*.moe.router.weight, "), std::string::npos) << frozen;
  EXPECT_NE(refusal([](auto& r) {
              r.optimizer.learning_rate_factors = "*: 2, hed.*: 1";
            }).find("optimizer.learning_rate_factors: 'hed.*' fits none"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& r) {
              r.lora.layers = "*.query, *.attention_norm";
            }).find("lora.layers: '*.attention_norm' fits none of the model's 14 linear layers"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& r) { r.train.frozen = "*"; }).find("leaves nothing to train"), std::string::npos);
  EXPECT_NE(refusal([](auto& r) {
              r.lora = {"*.query, *.experts.*", 3, 5, 0.1};
            }).find("lora.dropout = 0.1 with an adapter of 'blocks.1.moe.experts.gate'"),
            std::string::npos);
}

}  // namespace
