#include "launch/ranks/mesh_notes.h"

#include <gtest/gtest.h>

namespace {

using launch::mesh_notes;

/// 4 blocks of width 100, every other one with experts (top 2); float32: a row has 400 bytes.
launch::Recipe plain_recipe(const parallel::MeshConfig& mesh) {
  launch::Recipe recipe;
  recipe.mesh = mesh;
  recipe.model.layers = 4;
  recipe.model.width = 100;
  recipe.moe.layers = "odd";
  recipe.moe.top_k = 2;
  return recipe;
}

TEST(MeshNotes, AnAxisInsideAHostIsNoReasonToWarn) {
  EXPECT_TRUE(mesh_notes(plain_recipe({}), {0}, 1000).empty());
  const auto notes = mesh_notes(plain_recipe({.tensor = 2, .expert_tensor = 2}), {0, 0, 2, 2}, 1000);
  EXPECT_EQ(notes.size(), 7u);  // the table
}

TEST(MeshNotes, TensorAcrossHostsIsWarnedOfWithItsCost) {
  const auto notes = mesh_notes(plain_recipe({.tensor = 4}), {0, 0, 2, 2}, 10000);
  ASSERT_EQ(notes.size(), 8u);
  // 10,000 rows x 400 bytes x 4 ranks x (2 + 2 x 4 attentions + 2 x 2 dense feed-forwards)
  EXPECT_EQ(
      notes.back(),
      "warning: mesh.tensor = 4 spans 2 hosts: its exchanges, about 224 MB an update, go at the speed of the link "
      "between hosts; inside a host: mesh.tensor = 2");
}

TEST(MeshNotes, ExpertTensorAcrossHostsIsWarnedOfWithItsCost) {
  const auto notes = mesh_notes(plain_recipe({.expert = 2, .expert_tensor = 2}), {0, 1, 2, 3}, 10000);
  ASSERT_EQ(notes.size(), 8u);
  // 2 x 10,000 rows x 400 bytes x 2 blocks x top 2 x 2 ranks
  EXPECT_EQ(
      notes.back(),
      "warning: mesh.expert_tensor = 2 spans 2 hosts: its exchanges, about 64 MB an update, go at the speed of the "
      "link between hosts; inside a host: mesh.expert_tensor = 1");
}

TEST(MeshNotes, ByHostWithinOneHostIsFlat) {
  const parallel::MeshConfig mesh{.expert = 2, .dispatch = "hierarchical"};
  EXPECT_EQ(mesh_notes(plain_recipe(mesh), {0, 0, 2, 2}, 1000).back(),
            "mesh.dispatch = \"hierarchical\": every expert axis lies inside one host, so rows go flat");
  EXPECT_EQ(mesh_notes(plain_recipe(mesh), {0, 2, 0, 2}, 1000).size(), 7u);
}

}  // namespace
