// FSMoE's published constants through our cost lines, closed forms, slices and schedules: what tests/figures/fsmoe_grid
// starts. Every number is predicted; nothing here is measured but the planner's own time.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "parallel/schedule/schedules.h"
#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::BackwardLayer;
using parallel::ChunkOption;
using parallel::Direction;
using parallel::ExpertBackward;
using parallel::FsmoeLayer;
using parallel::TestBed;

/// Batch x length x width x hidden / width x copies x matrices; the grid's heads (8, 16, 32) change no cost here, so
/// each of the 486 stands for three of its 1,458. No drop counts as two copies of each token.
constexpr int64_t kHeads = 3;
std::vector<FsmoeLayer> grid(const TestBed& bed) {
  const bool is_a = bed.ranks_per_host == 8;
  std::vector<FsmoeLayer> layers;
  for (const int64_t sequences : {1, 2, 4}) {
    for (const int64_t length : is_a ? std::vector<int64_t>{512, 1024, 2048} : std::vector<int64_t>{256, 512, 1024}) {
      for (const int64_t width : {1024, 2048, 4096}) {
        for (const int64_t times : {2, 3, 4}) {
          for (const double copies : {2.4, 4.8, 2.0}) {
            for (const int64_t matrices : {2, 3})
              layers.push_back({sequences, length, width, times * width, copies, matrices});
          }
        }
      }
    }
  }
  return layers;
}

enum class Links { kTwo, kOne };

/// 1 to 8 chunks by the closed forms, as the grid's comparison has it.
BackwardLayer by_closed_form(const TestBed& bed, const FsmoeLayer& shape, Direction direction, Links links) {
  const parallel::LayerLoad load = fsmoe_load(bed, shape);
  BackwardLayer layer{.dense_seconds = load.dense_backward_seconds, .gradient_bytes = load.dense_gradient_bytes};
  for (int64_t chunks = 1; chunks <= 8; ++chunks) {
    const auto times = chunk_times(fsmoe_lines(bed), load, direction, ExpertBackward::kOneTask, chunks);
    const bool two = links == Links::kTwo;
    const parallel::LayerTimes whole{.chunk = times, .chunks = chunks};
    const double link = 2 * times.all_to_all + (two ? 0 : times.all_gather + times.reduce_scatter);
    layer.options.push_back({.chunks = chunks,
                             .seconds = two ? longest_of_four(whole) : longest_on_one_link(whole),
                             .link_seconds = static_cast<double>(chunks) * link});
  }
  return layer;
}

/// [s] of a layer forward and backward whose gradient is sent within it, a part of it (in 20ths) beside the MoE part.
struct LayerCosts {
  double tutel = 0, improved = 0, no_split = 0, fsmoe = 0;
};

double least_partitioned(const BackwardLayer& layer, const parallel::GradientCost& cost) {
  double least = std::numeric_limits<double>::infinity();
  for (int64_t part = 0; part <= 20; ++part) {
    const int64_t beside = layer.gradient_bytes * part / 20;
    const double in_moe = cost.seconds(beside);
    const double dense = std::max(layer.dense_seconds, cost.seconds(layer.gradient_bytes - beside));
    least = std::min(least, layer.fastest(in_moe).seconds_with(in_moe) + dense);
  }
  return least;
}

LayerCosts layer_costs(const TestBed& bed, const FsmoeLayer& shape) {
  const auto forms = [&](Direction direction, Links links) { return by_closed_form(bed, shape, direction, links); };
  const double dense_forward = fsmoe_load(bed, shape).dense_forward_seconds;
  const BackwardLayer one = forms(Direction::kBackward, Links::kOne), two = forms(Direction::kBackward, Links::kTwo);
  const double forward_one = dense_forward + forms(Direction::kForward, Links::kOne).fastest(0).seconds;
  const double forward_two = dense_forward + forms(Direction::kForward, Links::kTwo).fastest(0).seconds;
  const parallel::GradientCost cost{.all_reduce = bed.all_reduce};
  const double gradients = cost.seconds(one.gradient_bytes), moe = one.fastest(0).seconds;
  return {.tutel = forward_one + moe + one.dense_seconds + gradients,
          .improved = forward_one + moe + std::max(one.dense_seconds, gradients),
          .no_split = forward_one + least_partitioned(one, cost),
          .fsmoe = forward_two + least_partitioned(two, cost)};
}

struct Expected {
  double improved, no_split, fsmoe;
};

void walk_grid(const TestBed& bed, const Expected& bars, const Expected& published) {
  double improved = 0, no_split = 0, fsmoe = 0, least = std::numeric_limits<double>::infinity();
  int64_t layers = 0, slower = 0;
  for (const FsmoeLayer& shape : grid(bed)) {
    const LayerCosts cost = layer_costs(bed, shape);
    improved += kHeads * cost.tutel / cost.improved;
    no_split += kHeads * cost.tutel / cost.no_split;
    fsmoe += kHeads * cost.tutel / cost.fsmoe;
    least = std::min(least, cost.tutel / cost.fsmoe);
    slower += kHeads * (cost.fsmoe > std::min({cost.tutel, cost.improved, cost.no_split}) * (1 + 1e-12));
    layers += kHeads;
  }
  const auto count = static_cast<double>(layers);
  improved /= count, no_split /= count, fsmoe /= count;
  std::printf("test bed %s, %lld layers, mean speed-up over Tutel: improved Tutel / no split / FSMoE\n", bed.name,
              static_cast<long long>(layers));
  std::printf("  the least of FSMoE %.3f\n", least);
  EXPECT_EQ(layers, 1458);
  EXPECT_NEAR(improved, bars.improved, 0.01);
  EXPECT_NEAR(no_split, bars.no_split, 0.01);
  EXPECT_NEAR(fsmoe, bars.fsmoe, 0.01);
  EXPECT_EQ(slower, 0) << "layers slower than a comparator";
  std::printf("walked %s predicted %.3f / %.3f / %.3f (published %.2f / %.2f / %.2f)\n", bed.name, improved, no_split,
              fsmoe, published.improved, published.no_split, published.fsmoe);
}

TEST(FsmoeGrid, MeanSpeedUps) {
  walk_grid(parallel::fsmoe_a(), {1.094, 1.096, 1.168}, {1.09, 1.12, 1.18});
  walk_grid(parallel::fsmoe_b(), {1.121, 1.184, 1.284}, {1.08, 1.16, 1.22});
}

TEST(FsmoeGrid, GoldenVectors) {
  const FsmoeLayer golden{.sequences = 4, .length = 1024, .width = 1024, .hidden = 4096, .copies = 2.4};
  const double forward[] = {6.4295, 4.6345, 4.4489, 4.3917, 4.3858, 4.4055, 4.5430, 4.8328};
  const double backward[] = {7.5255, 5.4389, 4.9898, 4.9500, 5.0740, 5.2799, 5.5325, 5.8144};
  double worst = 0;
  std::printf("golden layer, test bed B, ms for 1 to 8 chunks, forward then backward (and as simulated)\n");
  for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
    for (int64_t r = 1; r <= 8; ++r) {
      const parallel::LayerTimes layer = layer_times(golden, direction, r);
      const double seconds = longest_of_four(layer);
      worst = std::max(worst, std::abs(1e3 * seconds - (direction == Direction::kForward ? forward : backward)[r - 1]));
      std::printf(" %.4f (%.4f)", 1e3 * seconds, 1e3 * simulated(layer).seconds);
    }
    std::printf("\n");
  }
  EXPECT_LE(worst, 0.50001e-4) << "to the printed digits";
  std::printf("walked golden vectors within %.1e ms\n", worst);
}

/// A step of three equal layers under each schedule, simulated: ours is never slower.
TEST(FsmoeGrid, PlannedIsNoSlowerThanAnySchedule) {
  const auto schedules = parallel::builtin_schedules();
  int64_t steps = 0, slower = 0;
  for (const ExpertBackward experts : {ExpertBackward::kOneTask, ExpertBackward::kTwoTasks}) {
    const parallel::PlanOptions options{.experts = experts};
    for (const TestBed& bed : {parallel::fsmoe_a(), parallel::fsmoe_b()}) {
      std::map<std::string, double> gain;
      const auto shapes = grid(bed);
      for (const FsmoeLayer& shape : shapes) {
        const parallel::StepModel model{.lines = fsmoe_lines(bed), .layers = std::vector(3, fsmoe_load(bed, shape))};
        const double ours = predicted(model, schedules.at("planned")(model, options), options).seconds;
        for (const std::string& name : schedules.names()) {
          const double its = predicted(model, schedules.at(name)(model, options), options).seconds;
          gain[name] += its / ours / static_cast<double>(shapes.size());
          slower += kHeads * (ours > its * (1 + 1e-8));
        }
        steps += kHeads;
      }
      std::printf("test bed %s, backward in %s: planned is predicted faster by", bed.name,
                  experts == ExpertBackward::kOneTask ? "one task" : "two tasks");
      for (const auto& [name, mean] : gain) std::printf(" %s %.3f", name.c_str(), mean);
      std::printf("\n");
    }
  }
  EXPECT_EQ(slower, 0);
  std::printf("walked %lld steps, slower than a comparator %lld\n", static_cast<long long>(steps),
              static_cast<long long>(slower));
}

/// The same shapes in six layers: the dynamic program alone, in 40 quanta, against the rules.
TEST(FsmoeGrid, SlicesAreNeverWorseThanTheRules) {
  double worst = 0;
  int64_t worse = 0;
  for (const TestBed& bed : {parallel::fsmoe_a(), parallel::fsmoe_b()}) {
    const auto shapes = grid(bed);
    for (size_t i = 0; i < shapes.size(); i += 3) {
      const BackwardLayer layer = by_closed_form(bed, shapes[i], Direction::kBackward, Links::kTwo);
      const parallel::BackwardPass pass{.layers = std::vector(6, layer), .cost = {.all_reduce = bed.all_reduce}};
      const double exact_seconds = cost_of(pass, exact(pass, 40)).seconds,
                   chosen = cost_of(pass, cheapest(pass, 40)).seconds;
      for (const auto& rule : {in_free_gaps(pass), fixed_pieces(pass, parallel::kLinaPieceBytes)}) {
        const double seconds = cost_of(pass, rule).seconds;
        worst = std::max(worst, exact_seconds / seconds - 1);
        worse += chosen > seconds * (1 + 1e-8);
      }
    }
  }
  EXPECT_LE(worst, 0.005) << "what the quanta may cost";
  EXPECT_EQ(worse, 0) << "the planner takes the cheapest of all";
  std::printf("walked slices: chosen worse than a rule %lld times, the program alone by at most %.2f %%\n",
              static_cast<long long>(worse), 100 * std::max(0.0, worst));
}

TEST(FsmoeGrid, SliceExamples) {
  struct Row {
    FsmoeLayer shape;
    double expected[5];  // ms: no overlap, beside the dense part, pieces of 30 MB, free gaps, exact
  };
  const Row rows[] = {{{1, 256, 1600, 6400, 2.4, 2}, {24.64, 20.00, 19.81, 16.97, 16.97}},
                      {{1, 256, 4096, 14336, 2.4, 3}, {96.92, 89.57, 70.98, 72.73, 70.98}},
                      {{4, 1024, 4096, 8192, 2.4, 2}, {262.34, 212.09, 212.09, 212.09, 212.09}}};
  double worst = 0;
  std::printf("six layers of test bed B, ms: at the end, beside the dense part, 30 MB pieces, free gaps, exact\n");
  for (const Row& row : rows) {
    const parallel::BackwardPass pass = example_pass(row.shape, 6);
    const parallel::Slices ways[] = {none(pass), beside_dense(pass), fixed_pieces(pass, parallel::kLinaPieceBytes),
                                     in_free_gaps(pass), exact(pass, 40)};
    for (size_t i = 0; i < 5; ++i) {
      const double milliseconds = 1e3 * cost_of(pass, ways[i]).seconds;
      std::printf(" %.2f (expected %.2f)", milliseconds, row.expected[i]);
      worst = std::max(worst, std::abs(milliseconds - row.expected[i]));
    }
    std::printf("\n");
  }
  EXPECT_LE(worst, 0.0051) << "to the printed digits";
  std::printf("walked slice examples within %.4f ms\n", worst);
}

TEST(FsmoeGrid, ALayerIsPlannedInUnderAMillisecond) {
  using Clock = std::chrono::steady_clock;
  double worst = 0;
  for (const TestBed& bed : {parallel::fsmoe_a(), parallel::fsmoe_b()}) {
    for (const FsmoeLayer& shape : grid(bed)) {
      const parallel::StepModel model{.lines = fsmoe_lines(bed), .layers = {fsmoe_load(bed, shape)}};
      double least = std::numeric_limits<double>::infinity();  // of five: the machine is busy with other work too
      for (int repeat = 0; repeat < 5; ++repeat) {
        const auto begin = Clock::now();
        const parallel::Plan plan = planned(model, {});
        least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
        ASSERT_EQ(plan.layers.size(), 1u);
      }
      worst = std::max(worst, least);
    }
  }
  EXPECT_LT(worst, 1e-3);
  std::printf("walked a layer planned in at most %.2f ms\n", 1e3 * worst);
}

}  // namespace
