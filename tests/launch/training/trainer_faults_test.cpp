// Runs that are refused, diverge, or meet damaged files: what they leave behind.
#include <fstream>
#include <map>

#include "tests/launch/training/trainer_fixture.h"

namespace {

using launch::Trainer;

TEST_F(TrainerTest, AnExistingRunFolderIsRefusedAndUnharmed) {
  const launch::Recipe recipe = recipe_in("exists", "float32");
  run(recipe);
  const size_t lines = metrics_of(recipe).size();
  EXPECT_THROW(run(recipe), parallel::UserError);
  EXPECT_EQ(metrics_of(recipe).size(), lines);
  launch::Recipe other = recipe;
  other.run.seed = 7;
  EXPECT_THROW(run(other, /*resume=*/true), parallel::UserError);
}

/// Paths and contents.
std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    if (entry.is_regular_file()) files[entry.path()] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return files;
}

TEST_F(TrainerTest, ARefusedResumptionChangesNoFile) {
  const launch::Recipe recipe = recipe_in("refused", "float32");
  run(recipe);
  const std::string other_text = folder_.path() / "other.h5";
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() != 0) return;
    std::ofstream(folder_.path() / "no_plan.json") << "[]";
    data::PrepareOptions options;
    options.text = {folder_.path() / "tiny.jsonl"};
    options.tokenizer = "byte";
    options.heldout = 0.3;
    options.output = other_text;
    data::prepare(options);
  });
  const auto before = files_of(recipe.run.folder);
  const auto expect_unchanged = [&](const char* what) {
    parallel::all_ranks(*world_, [] {});  // one rank holds the lock
    if (world_->rank() == 0) {
      EXPECT_EQ(files_of(recipe.run.folder), before) << what;
    }
    parallel::all_ranks(*world_, [] {});
  };
  const auto expect_refused = [&](const char* what, const std::function<void(launch::Recipe&)>& change) {
    launch::Recipe changed = recipe;
    changed.train.length = {9, parallel::Unit::kUpdates};
    change(changed);
    EXPECT_THROW(run(changed, /*resume=*/true), parallel::UserError) << what;
    expect_unchanged(what);
  };
  expect_refused("another text", [&](launch::Recipe& changed) { changed.data.file = other_text; });
  expect_refused("no plan", [&](launch::Recipe& changed) { changed.overlap.plan = folder_.path() / "no_plan.json"; });
  expect_refused("a warm-up that never ends", [](launch::Recipe& changed) {
    changed.schedule.warmup = {1'000'000, parallel::Unit::kTokens};
  });
  EXPECT_EQ(run(recipe, /*resume=*/true), Trainer::End::kDone);  // nothing to do
  expect_unchanged("nothing to do");
}

TEST_F(TrainerTest, ARefusedRunLeavesNoFolder) {
  launch::Recipe recipe = recipe_in("never/made", "float32");
  recipe.overlap.plan = folder_.path() / "absent.json";
  EXPECT_THROW(run(recipe), parallel::UserError);
  parallel::all_ranks(*world_, [] {});
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "never"));
}

TEST_F(TrainerTest, ADamagedNewestCheckpointIsPassedOverAndKept) {
  const launch::Recipe whole = recipe_in("undamaged", "float32"), cut = recipe_in("damaged", "float32");
  run(whole);
  run(cut);
  const std::filesystem::path newest = launch::checkpoint_path(cut.run.folder, 6);
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() == 0) std::filesystem::resize_file(newest, std::filesystem::file_size(newest) / 2);
  });
  ASSERT_EQ(run(cut, /*resume=*/true), Trainer::End::kDone);
  EXPECT_TRUE(std::filesystem::exists(newest.string() + ".unusable"));
  const auto a = saved_parameters(whole, 6), b = saved_parameters(cut, 6);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << "parameter " << i;
}

TEST_F(TrainerTest, ADivergingRunEndsWithOneErrorOnAllRanks) {
  launch::Recipe recipe = recipe_in("diverges", "float32");
  recipe.optimizer.learning_rate = 1e30;
  recipe.optimizer.clip_norm = 0;
  EXPECT_THROW(run(recipe), parallel::UserError);
}

TEST_F(TrainerTest, WeightsThatAreNotFiniteAreNeverSaved) {
  launch::Recipe recipe = recipe_in("infinite", "float32");
  recipe.schedule.warmup = {0, parallel::Unit::kUpdates};
  recipe.optimizer.learning_rate = 1e38;
  recipe.train.length = {1, parallel::Unit::kUpdates};  // no later update meets them
  EXPECT_THROW(run(recipe), parallel::UserError);
  EXPECT_EQ(launch::newest_update(recipe.run.folder, *world_), -1);
  recipe.optimizer.learning_rate = 1e-3;
  recipe.model.init_std = 0.2;
  EXPECT_EQ(run(recipe), Trainer::End::kDone) << "what failed before its first checkpoint blocks its folder";
}

/// As the message says: a lower rate and --resume.
TEST_F(TrainerTest, ADivergedRunGoesOnWithALowerLearningRate) {
  launch::Recipe recipe = recipe_in("lowered", "float32");
  recipe.schedule.kind = "constant";
  recipe.optimizer.learning_rate = 1e10;
  recipe.optimizer.clip_norm = 0;
  recipe.checkpoint.every = {1, parallel::Unit::kUpdates};
  EXPECT_THROW(run(recipe), parallel::UserError);
  recipe.optimizer.learning_rate = 1e-3;
  EXPECT_EQ(run(recipe, /*resume=*/true), Trainer::End::kDone);
  EXPECT_EQ(launch::newest_update(recipe.run.folder, *world_), 6);
}

}  // namespace
