// What updates read: ahead of them, and of several token files.
#include <condition_variable>
#include <mutex>

#include "launch/batches/prefetched_batches.h"
#include "tests/launch/training/trainer_fixture.h"

namespace {

/// Counts what is read of it; the update `bad` cannot be.
class CountedBatches : public launch::TrainingBatches {
 public:
  explicit CountedBatches(int64_t bad) : bad_(bad) {}
  std::vector<launch::MicroBatch> read(int64_t update) const override {
    const std::lock_guard lock(mutex_);
    if (update == bad_) parallel::user_error("update ", update, " cannot be read");
    reads_ = update + 1;
    changed_.notify_all();
    launch::MicroBatch batch{.batch = {.inputs = {.tokens = moetrain::TokenSide::whole(at::zeros({1, 1}, at::kLong))}},
                             .groups_T = at::full({1}, update, at::kLong)};
    return {batch};
  }
  parallel::SpanScale scale() const override { return {}; }
  int64_t sequences_per_micro_batch() const override { return 1; }
  int64_t sequences_before(int64_t updates) const override { return updates; }

  int64_t reads() const {
    const std::lock_guard lock(mutex_);
    return reads_;
  }
  void wait_for(int64_t reads) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return reads_ >= reads; });
  }

 private:
  int64_t bad_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int64_t reads_ = 0;
};

TEST(PrefetchedBatches, AreReadInOrderAndNoFurtherAheadThanSaid) {
  const CountedBatches batches(/*bad=*/-1);
  launch::PrefetchedBatches ahead(batches, 3, 40);
  for (int64_t update = 3; update < 40; ++update) {
    const auto next = ahead.take();
    ASSERT_EQ(next.fault, nullptr);
    EXPECT_EQ(next.batches.at(0).groups_T.item<int64_t>(), update);
    const int64_t furthest = std::min<int64_t>(40, update + 2 + static_cast<int64_t>(ahead.kDepth));
    EXPECT_LE(batches.reads(), furthest) << "kDepth wait, and one is being read";
    batches.wait_for(std::min<int64_t>(40, update + 1 + static_cast<int64_t>(ahead.kDepth)));  // while nobody asks
  }
}

TEST(PrefetchedBatches, HandOnWhatReadingThrowsWhenItsUpdateComes) {
  const CountedBatches batches(/*bad=*/2);
  launch::PrefetchedBatches ahead(batches, 0, 10);
  EXPECT_EQ(ahead.take().fault, nullptr);
  EXPECT_EQ(ahead.take().fault, nullptr);
  for (int again = 0; again < 2; ++again) {
    const auto next = ahead.take();
    ASSERT_NE(next.fault, nullptr);
    try {
      std::rethrow_exception(next.fault);
    } catch (const parallel::UserError& error) {
      EXPECT_STREQ(error.what(), "update 2 cannot be read");
    }
  }
  const CountedBatches endless(/*bad=*/-1);
  launch::PrefetchedBatches(endless, 0, int64_t{1} << 60);  // ends though it has not read all
}

class MixtureRuns : public TrainerTest {
 protected:
  /// With three quarters of the sequences from the larger file.
  launch::Recipe mixed_recipe(const std::string& run_folder) {
    launch::Recipe recipe = recipe_in(run_folder, "float64");
    recipe.data.file = corpus_ + ":3," + small_ + ":1";
    recipe.evaluate.every = {3, parallel::Unit::kUpdates};
    return recipe;
  }
  std::string small_ = make_tiny_corpus(folder_, *world_, 20, "small");
};

TEST_F(MixtureRuns, CountTheTokensOfEachFileAndGoOnWithThem) {
  launch::Recipe whole = mixed_recipe("whole"), parts = mixed_recipe("parts");
  expect_the_same_bits_in_two_parts(whole, parts);
  if (world_->rank() != 0) return;
  double evaluations = 0, tokens = 0;
  std::vector<nlohmann::json> last(2);
  for (size_t which = 0; which < 2; ++which) {
    for (const nlohmann::json& line : metrics_of(which == 0 ? whole : parts)) {
      if (line["event"] == "step") last[which] = line["sources"];
      if (line["event"] != "evaluate") continue;
      ++evaluations;
      const nlohmann::json &sources = line["sources"], &groups = line["groups"];
      ASSERT_EQ(sources.size(), 2u);
      for (const char* name : {"tiny", "small"}) {
        const nlohmann::json &en = groups[std::string(name) + "/en"], &de = groups[std::string(name) + "/de"];
        const double of_both = en["tokens"].get<double>() + de["tokens"].get<double>();
        EXPECT_EQ(sources[name]["tokens"], of_both);
        EXPECT_NEAR(sources[name]["loss"].get<double>() * of_both,
                    en["loss"].get<double>() * en["tokens"].get<double>() +
                        de["loss"].get<double>() * de["tokens"].get<double>(),
                    1e-9 * of_both);
      }
    }
  }
  EXPECT_EQ(last[0], last[1]) << "a resumption counts on";
  for (const auto& [name, read] : last[0].items()) tokens += read.get<double>();
  EXPECT_EQ(tokens, 6 * 12 * 16);
  EXPECT_NEAR(last[0]["tiny"].get<double>() / tokens, 0.75, 0.12);
  EXPECT_GE(evaluations, 3);
}

TEST_F(MixtureRuns, RefuseOtherWeightsOnResumptionAndReadersOfOneFile) {
  launch::Recipe recipe = mixed_recipe("weights");
  recipe.train.length = {3, parallel::Unit::kUpdates};
  run(recipe);
  recipe.train.length = {6, parallel::Unit::kUpdates};
  recipe.data.file = corpus_ + ":1," + small_ + ":1";
  EXPECT_THROW(run(recipe, /*resume=*/true), std::exception);
  const auto mixture = data::TokenMixture::open(recipe.data.file);
  recipe.model.kind = "classifier";
  EXPECT_THROW(launch::make_training_batches(mixture, recipe, {}), parallel::UserError);
}

}  // namespace
