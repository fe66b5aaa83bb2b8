#include "parallel/links/link_probe.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/world.h"

namespace {

using parallel::LinkKind;
using parallel::plan_links;

TEST(PlanLinks, OneRankHasNone) { EXPECT_TRUE(plan_links({0}).empty()); }

TEST(PlanLinks, TwoHostsOfTwo) {
  const auto phases = plan_links({0, 0, 2, 2});
  ASSERT_EQ(phases.size(), 3u);
  EXPECT_EQ(phases[0].kind, LinkKind::kInsideHost);
  EXPECT_EQ(phases[0].groups, (std::vector<std::vector<int64_t>>{{0, 1}, {2, 3}}));
  EXPECT_EQ(phases[1].kind, LinkKind::kBetweenHosts);
  EXPECT_EQ(phases[1].groups, (std::vector<std::vector<int64_t>>{{0, 2}}));
  EXPECT_EQ(phases[2].kind, LinkKind::kAllRanks);
}

TEST(PlanLinks, ARingOfHostsIsWalkedInAFewSteps) {
  for (const int64_t hosts : {2, 3, 4, 7, 64}) {
    std::vector<int64_t> host_of_rank;
    for (int64_t host = 0; host < hosts; ++host) host_of_rank.push_back(host * 10);
    std::map<int64_t, int> met;
    int steps = 0;
    for (const auto& phase : plan_links(host_of_rank)) {
      if (phase.kind != LinkKind::kBetweenHosts) continue;
      ++steps;
      std::set<int64_t> busy;
      for (const auto& group : phase.groups) {
        for (const int64_t rank : group) {
          EXPECT_TRUE(busy.insert(rank).second) << "rank " << rank << " is in two groups at once";
          ++met[rank];
        }
      }
    }
    EXPECT_LE(steps, 3);
    for (int64_t rank = 0; rank < hosts; ++rank) EXPECT_EQ(met[rank], hosts == 2 ? 1 : 2) << rank << " of " << hosts;
  }
}

TEST(ProbeLink, EverySizeOnEveryRankTheSame) {
  const auto world = test_mpi_world();
  if (world->size() == 1) return;  // no link
  parallel::ProbeOptions options;
  options.bytes = {8, 4096, 65536};
  options.seconds = 0.5;
  const auto samples = parallel::probe_link(*world, options);
  ASSERT_EQ(samples.size(), 3u);
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i].bytes, options.bytes[i]);
    EXPECT_GT(samples[i].seconds, 0);
  }
}

TEST(ProbeLink, WhatTakesTooLongIsLeftOut) {
  const auto world = test_mpi_world();
  if (world->size() == 1) return;
  parallel::ProbeOptions options;
  options.bytes = {8, 64, 1 << 20, 1 << 28};
  options.seconds = 1e-6;
  EXPECT_EQ(parallel::probe_link(*world, options).size(), 2u) << "two make a line";
}

}  // namespace
