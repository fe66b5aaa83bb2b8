// Tensor groups: what each rank holds, held-out scores, and checkpoints that move between them and one rank.
#include "launch/evaluation/evaluation.h"
#include "launch/training/trainer.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/tiny_pairs.h"
#include "tests/support/world.h"

namespace {

class TensorGroup : public testing::Test {
 protected:
  void run(const launch::Recipe& recipe, const launch::Groups& groups, bool resume) {
    launch::Trainer trainer(recipe, groups, at::kCPU, interrupt_, {.resume = resume});
    EXPECT_EQ(trainer.run(), launch::Trainer::End::kDone);
  }

  /// On rank 0 alone, while the others wait.
  void run_alone(const launch::Recipe& recipe, bool resume) {
    if (world_->rank() == 0) run(recipe, launch::local_groups(), resume);
    parallel::all_ranks(*world_, [] {});
  }

  /// Removes the checkpoint of update 6, so that a resumption begins at that of update 3.
  void cut(const launch::Recipe& recipe) {
    parallel::all_ranks(*world_, [] {});  // the others may still be reading it
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(recipe.run.folder, 6));
    });
  }

  /// Weights and moments of the last update, whole.
  std::vector<at::Tensor> saved(const launch::Recipe& recipe) {
    const auto model = launch::build_model(recipe, 257, at::kCPU);
    std::vector<launch::CheckpointTensor> tensors = launch::parameter_tensors(*model);
    for (const auto& [name, tensor] : launch::named_parameters(*model)) {
      tensors.push_back({"optimizer/first_moment/" + name, at::empty_like(tensor)});
      tensors.push_back({"optimizer/second_moment/" + name, at::empty_like(tensor)});
    }
    launch::read_checkpoint(launch::checkpoint_path(recipe.run.folder, 6), tensors);
    std::vector<at::Tensor> all;
    for (const auto& each : tensors) all.push_back(each.tensor.detach());
    return all;
  }

  void expect_same(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      const double largest = expected[i].abs().max().item<double>();
      EXPECT_LE((found[i] - expected[i]).abs().max().item<double>(), 1e-10 * largest) << "tensor " << i;
    }
  }

  launch::Recipe recipe_in(const std::string& run_folder) {
    launch::Recipe recipe = tiny_recipe(corpus_);
    recipe.run.folder = folder_.path() / run_folder;
    recipe.moe.layers = "odd";
    recipe.checkpoint = {.every = {3, parallel::Unit::kUpdates}, .keep = 2};
    return recipe;
  }

  const launch::Interrupt interrupt_;
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  parallel::MeshConfig mesh_{.tensor = world_->size()};
  TestFolder folder_{"tensor_group", *world_};
  std::string corpus_ = make_tiny_corpus(folder_, *world_);
};

TEST_F(TensorGroup, SharesHeadsHiddenUnitsAndVocabulary) {
  const launch::Groups groups = test_groups(mesh_);
  const auto model = launch::build_model(recipe_in("parts"), 257, at::kCPU, groups.mesh);
  const int64_t ranks = world_->size(), rank = world_->rank();
  const auto shape_of = [&](const std::string& name) { return model->named_parameters()[name].sizes().vec(); };
  using Shape = std::vector<int64_t>;
  const int64_t key_rows = 4 % ranks == 0 && 2 % ranks == 0 ? 4 / ranks : 4;  // 2 key/value heads of width 2
  EXPECT_EQ(shape_of("embedding.weight"), (Shape{257 * (rank + 1) / ranks - 257 * rank / ranks, 24}));
  EXPECT_EQ(shape_of("blocks.0.attention.query.weight"), (Shape{24 / ranks, 24}));
  EXPECT_EQ(shape_of("blocks.0.attention.key.weight"), (Shape{key_rows, 24}));
  EXPECT_EQ(shape_of("blocks.0.attention.output.weight"), (Shape{24, 24 / ranks}));
  EXPECT_EQ(shape_of("blocks.0.feed_forward.up.weight"), (Shape{36 / ranks, 24}));
  EXPECT_EQ(shape_of("blocks.0.feed_forward.down.weight"), (Shape{24, 36 / ranks}));
  EXPECT_EQ(shape_of("blocks.0.ffn_norm.weight"), (Shape{24}));
  EXPECT_EQ(model->vocabulary(), 257);
  const auto whole = launch::build_model(recipe_in("parts"), 257, at::kCPU);
  EXPECT_EQ(model->parameter_count().total, whole->parameter_count().total);
  EXPECT_EQ(model->parameter_count().active, whole->parameter_count().active);
}

TEST_F(TensorGroup, CheckpointsMoveToOneRankAndBack) {
  const launch::Groups groups = test_groups(mesh_);
  const launch::Recipe reference = recipe_in("reference"), leaves = recipe_in("leaves"), comes = recipe_in("comes");
  run_alone(reference, /*resume=*/false);
  const auto expected = saved(reference);
  run(leaves, groups, /*resume=*/false);
  expect_same(saved(leaves), expected);
  cut(leaves);
  run_alone(leaves, /*resume=*/true);
  expect_same(saved(leaves), expected);
  run_alone(comes, /*resume=*/false);
  cut(comes);
  run(comes, groups, /*resume=*/true);
  expect_same(saved(comes), expected);
}

/// Held-out scores and choices of a model spread over a tensor group are those of the whole one.
void expect_same_scores(launch::Recipe recipe, const parallel::MeshConfig& mesh) {
  const auto corpus = data::TokenCorpus::open(recipe.data.file);
  const launch::Groups groups = test_groups(mesh), alone = launch::local_groups();
  const int64_t vocabulary = corpus.tokenizer().vocabulary_size();
  const auto score = [&](const launch::Groups& ranks) {
    const auto model = launch::build_model(recipe, vocabulary, at::kCPU, ranks.mesh);
    return launch::evaluate(*model, *recipe.objective_preset().make({recipe.objective, nullptr}),
                            *launch::make_held_out_batches(corpus, recipe, ranks.shard), ranks);
  };
  const launch::Evaluation spread = score(groups), whole = score(alone);
  EXPECT_NEAR(spread.overall.nll, whole.overall.nll, 1e-10 * whole.overall.nll);
  EXPECT_EQ(spread.overall.tokens, whole.overall.tokens);
  ASSERT_EQ(spread.routing.size(), whole.routing.size());
  for (size_t i = 0; i < whole.routing.size(); ++i) EXPECT_EQ(spread.routing[i].choices, whole.routing[i].choices);
}

TEST_F(TensorGroup, ScoresHeldOutTextAsOneRank) {
  launch::Recipe recipe = tiny_recipe(corpus_);
  recipe.evaluate.batch = 5;
  expect_same_scores(recipe, mesh_);
}

TEST_F(TensorGroup, ScoresHeldOutPairsAsOneRank) {
  launch::Recipe recipe = tiny_translation_recipe(make_tiny_pairs(folder_, *world_));
  recipe.train.batch_tokens = 200;
  expect_same_scores(recipe, mesh_);
}

}  // namespace
