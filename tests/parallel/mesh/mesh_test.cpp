#include "parallel/mesh/mesh.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "parallel/base/fault.h"
#include "parallel/mesh/mesh_table.h"

namespace parallel {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(MeshShape, FoldsTheRanksTwice) {
  const MeshShape shape = mesh_shape({.tensor = 2, .expert = 3, .expert_tensor = 2}, 12);
  EXPECT_EQ(shape.data, 6);
  EXPECT_EQ(shape.expert_data, 2);
  const MeshPlace place = shape.place(9);  // 9 = 4 x 2 + 1 = (1 x 3 + 1) x 2 + 1
  EXPECT_EQ(place.data, 4);
  EXPECT_EQ(place.tensor, 1);
  EXPECT_EQ(place.expert_data, 1);
  EXPECT_EQ(place.expert, 1);
  EXPECT_EQ(place.expert_tensor, 1);
}

TEST(MeshShape, RefusesWhatDoesNotDivide) {
  EXPECT_EQ(message_of([] { mesh_shape({.tensor = 4}, 6); }),
            "mesh.tensor = 4 does not divide the 6 ranks of this job; legal: 3 or 6, or another number of ranks");
  EXPECT_EQ(message_of([] { mesh_shape({.expert = 2, .expert_tensor = 2}, 6); }),
            "mesh.expert = 2 does not divide the 3 ranks that mesh.expert_tensor = 2 leaves of 6; legal: 1 or 3, or "
            "another number of ranks");
  EXPECT_EQ(
      message_of([] { mesh_shape({.expert_tensor = 4}, 6); }),
      "mesh.expert_tensor = 4 does not divide the 6 ranks of this job; legal: 3 or 6, or another number of ranks");
}

TEST(MeshShape, AHierarchicalDispatchNeedsAnExpertAxis) {
  EXPECT_EQ(message_of([] { mesh_shape({.expert_tensor = 2, .dispatch = "hierarchical"}, 4); }),
            "mesh.dispatch = \"hierarchical\" sends a token once to each host of the expert axis, but mesh.expert = 1 "
            "keeps every row on its rank; legal: mesh.dispatch = \"flat\", or mesh.expert of at least 2");
  EXPECT_EQ(message_of([] { mesh_shape({.expert = 2, .dispatch = "hierarchical"}, 4); }), "no error");
}

TEST(Axes, HaveAsManyRanksInAGroupAsTheySay) {
  const MeshShape shape = mesh_shape({.tensor = 2, .expert = 3, .expert_tensor = 2}, 12);
  for (size_t i = 0; i < kAxes; ++i) {
    const AxisRow& axis = row_of(static_cast<Axis>(i));
    EXPECT_EQ(static_cast<size_t>(axis.axis), i) << axis.name;
    std::map<int64_t, int64_t> ranks;
    for (int64_t rank = 0; rank < shape.ranks(); ++rank) ++ranks[axis.group(shape, shape.place(rank))];
    for (const auto& [group, count] : ranks) EXPECT_EQ(count, axis.ranks(shape)) << axis.name << ", group " << group;
  }
  EXPECT_EQ(ledger_name(Axis::kExpertData, GroupUse::kGradients), "gradients.expert_data");
}

TEST(MeshTable, SaysHowManyHostsAGroupSpans) {
  const MeshShape shape = mesh_shape({.tensor = 2, .expert = 2, .expert_tensor = 4}, 8);
  const std::vector<int64_t> pairs{0, 0, 2, 2, 4, 4, 6, 6}, halves{0, 0, 0, 0, 4, 4, 4, 4},
      uneven{0, 1, 1, 1, 1, 1, 1, 1};
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kData, pairs), 4);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kTensor, pairs), 1);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kTensor, uneven), 2);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kExpert, halves), 2);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kExpertTensor, halves), 1);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kExpertTensor, pairs), 2);
  EXPECT_EQ(hosts_of_a_group(shape, Axis::kExpertData, pairs), 1);
  const std::vector<std::string> lines = mesh_table(shape, halves);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(lines[0], "layout of 8 ranks on 2 hosts");
  EXPECT_EQ(lines[1], "  axis           ranks  groups  hosts of a group  what the ranks of a group share");
  EXPECT_EQ(lines[3], "  tensor         2      4       1                 dense part: heads, hidden units, vocabulary");
  EXPECT_EQ(lines[5], "  expert         2      4       2                 experts: each whole on one rank");
}

TEST(ExpertMap, EvenAndOfOnesOwn) {
  EXPECT_EQ(expert_map({.expert = 3}, 12).counts, (std::vector<int64_t>{4, 4, 4}));
  const ExpertMap map = expert_map({.expert = 3, .experts_by_rank = {5, 0, 2}}, 7);
  EXPECT_EQ(map.first(1), 5);
  EXPECT_EQ(map.first(2), 5);
  EXPECT_EQ(map.count(1), 0);
  EXPECT_EQ(map.experts(), 7);
  EXPECT_NE(
      message_of([] { expert_map({.expert = 2}, 3, "sets of weights"); }).find("the 3 sets of weights of a layer"),
      std::string::npos);
  EXPECT_NE(message_of([] { expert_map({.expert = 3}, 7); }).find("mesh.expert = 3 does not divide the 7 experts"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              expert_map({.expert = 2, .experts_by_rank = {3, 3}}, 7);
            }).find("adds up to 6 experts"),
            std::string::npos);
  EXPECT_NE(message_of([] { expert_map({.expert = 2, .experts_by_rank = {7}}, 7); }).find("has 1 numbers"),
            std::string::npos);
}

/// Element by element, against index arithmetic.
TEST(Placement, BlocksHoldTheElementsOfTheirParts) {
  const std::vector<int64_t> shape{3, 4, 5};
  const auto elements = [&](const std::vector<DimPart>& parts) {
    std::vector<int64_t> all;
    for (const ElementRange& run : block_placement(shape, parts, Replicas::kData).runs) {
      for (int64_t i = 0; i < run.count; ++i) all.push_back(run.begin + i);
    }
    return all;
  };
  const auto by_hand = [&](int64_t a0, int64_t a1, int64_t b0, int64_t b1, int64_t c0, int64_t c1) {
    std::vector<int64_t> all;
    for (int64_t a = a0; a < a1; ++a) {
      for (int64_t b = b0; b < b1; ++b) {
        for (int64_t c = c0; c < c1; ++c) all.push_back((a * 4 + b) * 5 + c);
      }
    }
    return all;
  };
  EXPECT_EQ(elements({}), by_hand(0, 3, 0, 4, 0, 5));
  EXPECT_EQ(elements({{0, 1, 2}}), by_hand(1, 3, 0, 4, 0, 5));
  EXPECT_EQ(elements({{1, 2, 2}}), by_hand(0, 3, 2, 4, 0, 5));
  EXPECT_EQ(elements({{2, 1, 3}}), by_hand(0, 3, 0, 4, 1, 4));
  EXPECT_EQ(elements({{0, 2, 1}, {2, 4, 1}}), by_hand(2, 3, 0, 4, 4, 5));
  EXPECT_EQ(elements({{0, 0, 2}, {1, 1, 2}, {2, 2, 2}}), by_hand(0, 2, 1, 3, 2, 4));
  EXPECT_TRUE(elements({{1, 2, 0}}).empty());
}

TEST(Placement, RunsAreAsLongAsTheyCanBe) {
  EXPECT_EQ(whole_placement({3, 4}).runs, (std::vector<ElementRange>{{0, 12}}));
  EXPECT_EQ(block_placement({3, 4}, {{0, 1, 2}}, Replicas::kData).runs, (std::vector<ElementRange>{{4, 8}}));
  EXPECT_EQ(block_placement({3, 4}, {{1, 1, 2}}, Replicas::kData).runs,
            (std::vector<ElementRange>{{1, 2}, {5, 2}, {9, 2}}));
  EXPECT_EQ(whole_placement({}).runs, (std::vector<ElementRange>{{0, 1}}));
}

}  // namespace
}  // namespace parallel
