// The real executor on 2 ranks whose exchanges end when a modelled link would end them, at no cost in processor time:
// FSMoE's fifth experiment, the third part of tests/figures/simulator_cases; and the control of overlap_emulated.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>

#include "launch/bench/schedule_bench.h"
#include "launch/recipe/reader.h"
#include "tests/figures/walks.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/tiny_corpus.h"

namespace {

using parallel::GradientRelease;
using parallel::Line;
using parallel::Plan;

/// Experts over all ranks, each on a host of its own, behind such a link.
launch::Groups delayed_groups(const Line& line) {
  const auto world = test_mpi_world();
  const auto links = std::make_shared<DelayedLinks>(line);
  launch::Groups groups;
  groups.engine = &world->engine();
  groups.control = world->duplicate();
  groups.tokens = std::make_shared<DelayingCommunicator>(world->duplicate(), links);
  groups.gradients = std::make_shared<DelayingCommunicator>(world->duplicate(), links);
  std::vector<int64_t> hosts(static_cast<size_t>(world->size()));
  std::iota(hosts.begin(), hosts.end(), 0);
  set_mesh(groups, {.expert = world->size()}, hosts);
  return groups;
}

class DelayedExchanges : public testing::Test {
 protected:
  bool first() const { return test_world()->rank() == 0; }

  const TestFolder folder_{"delayed", *test_world()};
  const std::string corpus_ = make_tiny_corpus(folder_, *test_world(), 400);
};

/// Whatever the plan says of when, what comes out is the same.
TEST_F(DelayedExchanges, TrajectoriesAreEqual) {
  launch::Recipe recipe = tiny_recipe(corpus_);
  recipe.train.micro_batches = 2;
  const launch::Groups groups = delayed_groups({.alpha = 1e-4, .beta = 1e-8});
  const UpdateTrace one = run_updates(recipe, groups, 3, {.plan = Plan{}});
  double apart = 0;
  int64_t plans = 0;
  for (const int64_t chunks : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const GradientRelease release :
         {GradientRelease::kAfterBackward, GradientRelease::kWhenReady, GradientRelease::kPlanned}) {
      for (const int64_t slice : {0, 3000}) {
        const Plan plan{.overlap = true,
                        .release = release,
                        .slice_bytes = slice,
                        .layers = std::vector<parallel::LayerPlan>(2, {.forward_chunks = chunks,
                                                                       .backward_chunks = 9 - chunks,
                                                                       .moe_gradient_bytes = 5000,
                                                                       .dense_gradient_bytes = 2500})};
        const UpdateTrace trace = run_updates(recipe, groups, 3, {.plan = plan});
        apart = std::max(apart, losses_apart(trace, one));
        expect_same_trace(trace, one, 1e-10);
        ++plans;
      }
    }
  }
  if (first()) {
    std::printf("walked %lld plans of chunks and slices: losses of 3 updates within %.1e of one piece\n",
                static_cast<long long>(plans), apart);
  }
}

/// Spearman's: the correlation of ranks. @pre no two are equal
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto place = [](const std::vector<double>& all, size_t i) {
    return static_cast<double>(std::ranges::count_if(all, [&](double each) { return each < all[i]; }));
  };
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(place(a, i) - place(b, i), 2);
  const auto n = static_cast<double>(a.size());
  return 1 - 6 * squares / (n * (n * n - 1));
}

/// A link of 3 ms a message and 50 MB/s: chunks that hide the exchanges of this layer behind its experts soon cost
/// more than they hide.
constexpr Line kLink{.alpha = 3e-3, .beta = 2e-8};

launch::Recipe timed_recipe(const std::string& corpus) {
  launch::Recipe recipe = tiny_recipe(corpus);
  recipe.run.precision = "float32";
  recipe.data.sequence_length = 64;
  recipe.train.global_batch = 32;
  recipe.model.width = 256;
  recipe.model.heads = recipe.model.kv_heads = 4;
  recipe.moe.experts = 8;
  recipe.moe.hidden = 512;
  recipe.overlap.profile_seconds = 4;
  return recipe;
}

TEST_F(DelayedExchanges, StepsTakeAsLongAsPredicted) {
  launch::BenchOptions options{.schedules = {"sequential", "planned"},
                               .rounds = std::getenv("MOETRAIN_QUICK") != nullptr ? 4 : 15};
  for (int64_t chunks = 1; chunks <= 8; ++chunks) options.schedules.push_back("fixed:" + std::to_string(chunks));
  double correlation = 0, gain = 0, predicted_gain = 0;
  Line fitted;
  std::string table;
  // What else the processors do makes a step longer, never shorter: the least of the rounds, and of three attempts the
  // first that nothing disturbed.
  for (int attempt = 0; attempt < 3; ++attempt) {
    launch::TrainingSetup setup(timed_recipe(corpus_), delayed_groups(kLink), at::kCPU);
    setup.build();
    const launch::BenchResult result = bench(setup, options);
    std::vector<double> measured, predicted;
    table.clear();
    for (const launch::BenchRow& row : result.rows) {
      measured.push_back(*std::ranges::min_element(row.rounds));
      predicted.push_back(row.predicted);
      char line[120];
      std::snprintf(line, sizeof line, "%-10s measured %7.1f ms, predicted %7.1f\n", row.schedule.c_str(),
                    1e3 * measured.back(), 1e3 * predicted.back());
      table += line;
    }
    fitted = result.profile.model.lines.all_to_all;
    correlation = rank_correlation({measured.begin() + 2, measured.end()}, {predicted.begin() + 2, predicted.end()});
    gain = measured[0] / measured[1];
    predicted_gain = predicted[0] / predicted[1];
    const bool fits =
        std::abs(fitted.alpha / kLink.alpha - 1) < 0.15 && std::abs(2 * fitted.beta / kLink.beta - 1) < 0.1;
    if (fits && correlation > 0.9 && std::abs(gain / predicted_gain - 1) < 0.1) break;
  }
  if (!first()) return;
  std::printf("%s", table.c_str());
  EXPECT_NEAR(fitted.alpha, kLink.alpha, 0.15 * kLink.alpha);
  EXPECT_NEAR(fitted.beta, kLink.beta / 2, 0.1 * kLink.beta / 2) << "over all rows, of which one half stays";
  EXPECT_GT(correlation, 0.9);
  EXPECT_GT(predicted_gain, 1.1);
  EXPECT_NEAR(gain / predicted_gain, 1, 0.1);
  std::printf(
      "walked the executor over delayed links: 1 to 8 chunks ranked as predicted (Spearman %.3f), planned %.3f x "
      "sequential, predicted %.3f\n",
      correlation, gain, predicted_gain);
}

/// The recipe, text and link (bytes a second) that tests/figures/overlap_emulated names, as its control: what
/// is left of a gain when carrying bytes takes no processor time from the ranks that compute.
TEST_F(DelayedExchanges, OverlapRecipe) {
  const char *file = std::getenv("MOETRAIN_BENCH_RECIPE"), *text = std::getenv("MOETRAIN_BENCH_TEXT"),
             *rate = std::getenv("MOETRAIN_BENCH_RATE");
  ASSERT_TRUE(file != nullptr && text != nullptr && rate != nullptr) << "started by tests/figures/overlap_emulated";
  const launch::Recipe recipe = launch::read_recipe(file, {std::string("data.file=") + text, "mesh.expert=2"});
  launch::TrainingSetup setup(recipe, delayed_groups({.alpha = 2e-4, .beta = 1 / std::atof(rate)}), at::kCPU);
  setup.build();
  const launch::BenchResult result =
      bench(setup, {.schedules = {"sequential", "fixed:2", "fixed:4", "fixed:8", "planned"}, .rounds = 15});
  if (!first()) return;
  for (const launch::BenchRow& row : result.rows) {
    std::printf("walked %-10s %6.0f ms, predicted %6.0f; %.3f (%.3f to %.3f) x sequential; exposed %2.0f %%\n",
                row.schedule.c_str(), 1e3 * row.seconds.value, 1e3 * row.predicted, row.speed_up.value,
                row.speed_up.low, row.speed_up.high, 100 * row.exposed);
  }
  std::printf("walked MPI thread %.1f %% of a core\n", 100 * result.engine_share);
}

}  // namespace
