#include "parallel/schedule/gradient_slices.h"

#include <gtest/gtest.h>

#include <limits>

#include "parallel/base/fault.h"
#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::BackwardPass;
using parallel::ChunkOption;
using parallel::cost_of;
using parallel::Slices;

/// Layers of random costs whose gradients are `sizes` quanta of 100 bytes.
BackwardPass drawn_pass(std::mt19937_64& draws, const std::vector<int64_t>& sizes) {
  std::uniform_real_distribution<double> seconds(0.5, 4);
  BackwardPass pass{.first_bytes = 100 * static_cast<int64_t>(draws() % 2),
                    .cost = {.all_reduce = {.alpha = seconds(draws) / 8, .beta = seconds(draws) / 200}}};
  for (const int64_t size : sizes) {
    parallel::BackwardLayer layer{.dense_seconds = seconds(draws), .gradient_bytes = 100 * size};
    for (int64_t chunks = 1; chunks <= 3; ++chunks) {
      const double link = seconds(draws) * static_cast<double>(chunks) / 2;
      layer.options.push_back({.chunks = chunks, .seconds = link + seconds(draws), .link_seconds = link});
    }
    pass.layers.push_back(layer);
  }
  return pass;
}

/// Tries every number of 100 bytes at every place.
double brute_force(const BackwardPass& pass, Slices& slices, int64_t there) {
  const size_t i = slices.moe_bytes.size();
  if (i == pass.layers.size()) return cost_of(pass, slices).seconds;
  double best = std::numeric_limits<double>::infinity();
  for (int64_t x = 0; x <= there; x += 100) {
    for (int64_t y = 0; x + y <= there; y += 100) {
      slices.moe_bytes.push_back(x);
      slices.dense_bytes.push_back(y);
      best = std::min(best, brute_force(pass, slices, there - x - y + pass.layers[i].gradient_bytes));
      slices.moe_bytes.pop_back();
      slices.dense_bytes.pop_back();
    }
  }
  return best;
}

TEST(Exact, IsTheBestOfAll) {
  std::mt19937_64 draws(7);
  for (int i = 0; i < 60; ++i) {
    const std::vector<std::vector<int64_t>> sizes = {{2, 2, 2}, {0, 3, 1}, {4, 0, 0}, {1, 0, 3}};
    BackwardPass pass = drawn_pass(draws, sizes[static_cast<size_t>(i) % sizes.size()]);
    Slices tried;
    const double best = brute_force(pass, tried, pass.first_bytes);
    // A quantum of 100 bytes, once as part of the mean gradient and once as a slice with a latency of its own.
    pass.cost.slice_bytes = i % 2 == 0 ? 100 : 0;
    if (i % 2 == 0) {
      const double best_sliced = brute_force(pass, tried, pass.first_bytes);
      EXPECT_NEAR(cost_of(pass, exact(pass, 40)).seconds, best_sliced, 1e-9 * best_sliced) << i;
      continue;
    }
    const int64_t total = pass.total_bytes();
    if (total % 300 != 0) continue;
    EXPECT_NEAR(cost_of(pass, exact(pass, total / 300)).seconds, best, 1e-9 * best) << i;
  }
}

TEST(Exact, IsNeverWorseThanTheRules) {
  std::mt19937_64 draws(8);
  for (int i = 0; i < 100; ++i) {
    const BackwardPass pass = drawn_pass(draws, {200, 200, 200, 200});
    const double best = cost_of(pass, exact(pass, 40)).seconds, least = cost_of(pass, cheapest(pass, 40)).seconds;
    for (const Slices& rule : {none(pass), beside_dense(pass), in_free_gaps(pass), fixed_pieces(pass, 9000)}) {
      EXPECT_LE(best, cost_of(pass, rule).seconds * 1.005) << i << ": up to the quanta";
    }
    for (const Slices& rule : {none(pass), beside_dense(pass), in_free_gaps(pass)}) {
      EXPECT_LE(least, cost_of(pass, rule).seconds * (1 + 1e-8)) << i;
    }
    EXPECT_LE(least, best * (1 + 1e-8));
  }
}

TEST(Exact, KeepsToWholeSlices) {
  std::mt19937_64 draws(13);
  BackwardPass pass = drawn_pass(draws, {50, 50, 50});
  pass.first_bytes = 0;
  for (const int64_t slice : {int64_t{1}, int64_t{30}, int64_t{700}}) {
    pass.cost.slice_bytes = slice;
    pass.cost.all_reduce.alpha = 1e-6;
    int64_t sent = 0;
    const Slices slices = exact(pass, 40);
    for (const std::vector<int64_t>& places : {slices.moe_bytes, slices.dense_bytes}) {
      for (const int64_t bytes : places) {
        EXPECT_EQ(bytes % slice, 0);
        sent += bytes;
      }
    }
    EXPECT_GT(sent, 0);
  }
}

TEST(Slices, WhatIsSentIsWhatThereIs) {
  std::mt19937_64 draws(9);
  for (const std::vector<int64_t>& sizes : std::vector<std::vector<int64_t>>{{7, 7}, {3, 0, 11}, {0, 0, 5, 1}}) {
    const BackwardPass pass = drawn_pass(draws, sizes);
    for (const Slices& each : {none(pass), beside_dense(pass), in_free_gaps(pass), fixed_pieces(pass, 250),
                               exact(pass, 7), cheapest(pass, 40)}) {
      int64_t sent = cost_of(pass, each).rest_bytes;
      for (const int64_t bytes : each.moe_bytes) sent += bytes;
      for (const int64_t bytes : each.dense_bytes) sent += bytes;
      EXPECT_EQ(sent, pass.total_bytes());
    }
  }
}

TEST(Slices, FreeGapsCostNothing) {
  std::mt19937_64 draws(10);
  for (int i = 0; i < 50; ++i) {
    BackwardPass pass = drawn_pass(draws, {300, 300, 300});
    const Slices slices = in_free_gaps(pass);
    const parallel::SlicesCost cost = cost_of(pass, slices);
    double alone = pass.cost.seconds(cost.rest_bytes);
    for (const parallel::BackwardLayer& layer : pass.layers) alone += layer.fastest(0).seconds + layer.dense_seconds;
    EXPECT_NEAR(cost.seconds, alone, 1e-9 * alone);
  }
}

TEST(Slices, WithoutGradientsNothingIsSent) {
  std::mt19937_64 draws(11);
  BackwardPass pass = drawn_pass(draws, {0, 0, 0});
  pass.first_bytes = 0;
  EXPECT_EQ(exact(pass, 40), none(pass));
  EXPECT_EQ(cheapest(pass, 40), none(pass));
  BackwardPass empty{.first_bytes = 1000, .cost = pass.cost};
  EXPECT_EQ(cost_of(empty, exact(empty, 40)).rest_bytes, 1000) << "no MoE layer: all after backward";
}

TEST(Slices, MoreThanThereIsIsAFault) {
  std::mt19937_64 draws(12);
  BackwardPass pass = drawn_pass(draws, {2, 2});
  pass.first_bytes = 0;
  EXPECT_THROW(cost_of(pass, {.moe_bytes = {1, 0}, .dense_bytes = {0, 0}}), parallel::InternalError)
      << "the first layer's gradients come up after its dense part";
  EXPECT_NO_THROW(cost_of(pass, {.moe_bytes = {0, 200}, .dense_bytes = {0, 0}}));
}

/// Six layers of test bed B, all [ms]; gradients are sent as one message for each place.
TEST(Slices, PublishedConstantsExamples) {
  struct Row {
    parallel::FsmoeLayer shape;
    double none, dense, pieces, gaps, exact;
  };
  const Row rows[] = {{{1, 256, 1600, 6400, 2.4, 2}, 24.64, 20.00, 19.81, 16.97, 16.97},
                      {{1, 256, 4096, 14336, 2.4, 3}, 96.92, 89.57, 70.98, 72.73, 70.98},
                      {{4, 1024, 4096, 8192, 2.4, 2}, 262.34, 212.09, 212.09, 212.09, 212.09}};
  for (const Row& row : rows) {
    const BackwardPass pass = example_pass(row.shape, 6);
    const auto milliseconds = [&](const Slices& slices) { return 1e3 * cost_of(pass, slices).seconds; };
    EXPECT_NEAR(milliseconds(none(pass)), row.none, 0.006);
    EXPECT_NEAR(milliseconds(beside_dense(pass)), row.dense, 0.006);
    EXPECT_NEAR(milliseconds(fixed_pieces(pass, parallel::kLinaPieceBytes)), row.pieces, 0.006);
    EXPECT_NEAR(milliseconds(in_free_gaps(pass)), row.gaps, 0.006);
    EXPECT_NEAR(milliseconds(exact(pass, 40)), row.exact, 0.006);
  }
}

}  // namespace
