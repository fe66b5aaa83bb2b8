// Who may train in a run folder, what a resumption may change, and what a diverged run is told.
#include "launch/runs/run_folder.h"

#include <unistd.h>

#include <fstream>

#include "launch/recipe/writer.h"
#include "launch/runs/resumption.h"
#include "launch/runs/run_lock.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

namespace fs = std::filesystem;

std::string refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no error";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// On one rank: what is tested here communicates with none.
class RunFolderTest : public testing::Test {
 protected:
  bool first() const { return world_->rank() == 0; }
  launch::RunFolder with_files(const std::string& name, const std::vector<std::string>& files) {
    const launch::RunFolder folder{folder_.path() / name};
    fs::create_directories(folder.path / "checkpoints");
    for (const std::string& file : files) std::ofstream(folder.path / file) << "\n";
    launch::Recipe recipe = recipe_;
    recipe.run.folder = folder.path;
    launch::write_file(folder.recipe(), launch::write_recipe(recipe));
    return folder;
  }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"run_folder", *world_};
  launch::Recipe recipe_ = tiny_recipe("some.h5");
};

TEST_F(RunFolderTest, OneOwnerAtATimeAndTheOtherIsToldWho) {
  if (!first()) return;
  const fs::path run = folder_.path() / "a/b";
  {
    const launch::RunLock lock(run);
    const std::string refusal = refusal_of([&] { const launch::RunLock other(run); });
    EXPECT_TRUE(says(refusal, "another `moetrain train`")) << refusal;
    EXPECT_TRUE(says(refusal, parallel::concat("process ", getpid(), ","))) << refusal;
    std::ofstream(run / "something") << "kept";
  }
  EXPECT_FALSE(fs::exists(run / "lock"));
  EXPECT_TRUE(fs::exists(run / "something"));
  EXPECT_EQ(refusal_of([&] { const launch::RunLock next(run); }), "no error");
}

TEST_F(RunFolderTest, ALockOfAProcessThatWasKilledLocksNobodyOut) {
  if (!first()) return;
  const fs::path run = folder_.path() / "killed";
  fs::create_directories(run);
  std::ofstream(run / "lock") << "host gone, process 1, since long ago";
  EXPECT_EQ(refusal_of([&] { const launch::RunLock next(run); }), "no error");
}

TEST_F(RunFolderTest, FoldersMadeForNothingAreRemoved) {
  if (!first()) return;
  { const launch::RunLock lock(folder_.path() / "made/for/nothing"); }
  EXPECT_FALSE(fs::exists(folder_.path() / "made"));
}

TEST_F(RunFolderTest, AnAttemptThatSavedNothingIsInNobodysWay) {
  if (!first()) return;
  const launch::RunFolder attempt = with_files("attempt", {"metrics.jsonl", "plan.json", "recipe.toml.writing"});
  launch::Recipe other = recipe_;
  other.run.seed = 7;
  EXPECT_FALSE(launch::check_run_folder(attempt, other, /*resume=*/false).has_value());
  EXPECT_FALSE(launch::check_run_folder(attempt, other, /*resume=*/true).has_value());
  std::ofstream(attempt.path / "notes.txt") << "somebody's";
  EXPECT_TRUE(says(refusal_of([&] { launch::check_run_folder(attempt, other, false); }), "notes.txt"));
  // A run whose checkpoints were removed has saved, and is worth asking for.
  const launch::RunFolder emptied = with_files("emptied", {});
  std::ofstream(emptied.metrics()) << "{\"event\":\"start\"}\n{\"event\":\"checkpoint\",\"step\":3}\n";
  EXPECT_TRUE(says(refusal_of([&] { launch::check_run_folder(emptied, recipe_, false); }), "--resume"));
}

TEST_F(RunFolderTest, AResumptionMayChangeWhatADivergedRunNeedsAndNothingThatIsTrained) {
  if (!first()) return;
  const launch::RunFolder folder = with_files("saved", {"checkpoints/update_000000000003.h5"});
  launch::Recipe now = recipe_;
  now.optimizer.learning_rate = 1e-4;
  now.optimizer.clip_norm = 0.5;
  now.schedule.kind = "constant";
  now.schedule.warmup = {3, parallel::Unit::kUpdates};
  const auto then = launch::check_run_folder(folder, now, /*resume=*/true);
  ASSERT_TRUE(then.has_value());
  std::vector<std::string> names;
  for (const launch::ChangedKey& key : launch::changed_keys(*then, now)) names.push_back(key.name);
  EXPECT_EQ(names, (std::vector<std::string>{"optimizer.learning_rate", "optimizer.clip_norm", "schedule.kind",
                                             "schedule.warmup"}));
  now.run.seed = 7;
  const std::string refusal = refusal_of([&] { launch::check_run_folder(folder, now, true); });
  EXPECT_TRUE(says(refusal, "different: run.seed (1 there, 7 now); legal:")) << refusal;
}

TEST_F(RunFolderTest, AJumpOfTheLearningRateIsToldWithItsReason) {
  launch::Recipe then = recipe_;  // 6 updates of cosine after 2 of warm-up
  then.optimizer.learning_rate = 1.0;
  launch::Recipe now = then;
  EXPECT_EQ(launch::describe_learning_rate_jump(then, now, 6, {}), "");
  now.train.length = {1000, parallel::Unit::kUpdates};
  const std::string told = launch::describe_learning_rate_jump(then, now, 6, {});
  EXPECT_TRUE(says(told, "0.99") && says(told, "update 7") && says(told, "given 0.1;")) << told;
  EXPECT_TRUE(says(told, "train.length (\"6u\" there, \"1000u\" now)")) << told;
  then.schedule.kind = now.schedule.kind = "constant";
  EXPECT_EQ(launch::describe_learning_rate_jump(then, now, 6, {}), "");
}

TEST_F(RunFolderTest, AdviceNamesWhatIsNotSetYetAndHowToGoOn) {
  recipe_.optimizer.clip_norm = 1;
  const std::string at_first = launch::advice(recipe_, {});
  EXPECT_TRUE(says(at_first, "model.init_std (0.1 now)") && !says(at_first, "lower optimizer")) << at_first;
  const std::string clipped = launch::advice(recipe_, {.update = 9, .saved = 6});
  EXPECT_TRUE(says(clipped, "schedule.warmup (2u now)") && !says(clipped, "clip_norm")) << clipped;
  EXPECT_TRUE(says(clipped, "--resume goes on from update 6")) << clipped;
  recipe_.optimizer.clip_norm = 0;
  EXPECT_TRUE(says(launch::advice(recipe_, {.update = 9}), "set optimizer.clip_norm (0 now"));
  EXPECT_TRUE(says(launch::advice(recipe_, {.update = 9}), "--resume begins anew"));
  const std::string loaded = launch::advice(recipe_, {.update = 9, .begun = 9, .saved = 9, .before = 6});
  EXPECT_TRUE(says(loaded, "`mv ") && says(loaded, "from update 6")) << loaded;
}

}  // namespace
