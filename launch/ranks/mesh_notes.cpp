#include "launch/ranks/mesh_notes.h"

#include <algorithm>
#include <cstdio>

#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"
#include "parallel/mesh/mesh_table.h"

namespace launch {
namespace {

using parallel::Axis;
using parallel::MeshConfig;

int64_t spanned(const MeshConfig& mesh, Axis axis, const std::vector<int64_t>& hosts) {
  return parallel::hosts_of_a_group(parallel::mesh_shape(mesh, static_cast<int64_t>(hosts.size())), axis, hosts);
}

/// The largest divisor of its degree with which no group of the axis leaves its host.
int64_t largest_inside(MeshConfig mesh, Axis axis, const std::vector<int64_t>& hosts) {
  mesh.expert = axis == Axis::kTensor ? mesh.expert : 1;  // any other folding of the rest will do
  mesh.dispatch = "flat";
  int64_t& degree = mesh.*parallel::row_of(axis).degree;
  const int64_t value = degree;
  for (int64_t smaller = value - 1; smaller > 1; --smaller) {
    degree = smaller;
    if (value % smaller == 0 && spanned(mesh, axis, hosts) == 1) return smaller;
  }
  return 1;
}

/// parallel/README.md, bytes of an update: blocks gather each token's row and sum it again, for attention and for a
/// dense feed-forward; so do embedding and head.
double tensor_bytes(const Recipe& recipe, double row_bytes, int64_t dense) {
  int64_t attentions = std::ranges::count(moetrain::attention_blocks(recipe.model), true);
  for (const moetrain::StackShape& stack : recipe.model_preset().stacks(recipe.model)) {
    if (stack.cross) attentions += stack.blocks;
  }
  return row_bytes * static_cast<double>(recipe.mesh.tensor * (2 + 2 * attentions + 2 * dense));
}

/// "1.23"
std::string megabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", bytes / 1e6);
  return text;
}

double expert_tensor_bytes(const Recipe& recipe, double row_bytes) {
  int64_t choices = 0;  // of a token in all layers
  for (const auto& layer : moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model))) {
    choices += layer.top_k;
  }
  return 2 * row_bytes * static_cast<double>(choices * recipe.mesh.expert_tensor);
}

}  // namespace

std::vector<std::string> mesh_notes(const Recipe& recipe, const std::vector<int64_t>& hosts, int64_t tokens) {
  if (hosts.size() < 2) return {};
  const MeshConfig& mesh = recipe.mesh;
  std::vector<std::string> notes =
      parallel::mesh_table(parallel::mesh_shape(mesh, static_cast<int64_t>(hosts.size())), hosts);
  const std::vector<bool> blocks = moetrain::expert_blocks(recipe.moe, moetrain::total_blocks(recipe.model));
  const int64_t dense = std::ranges::count(blocks, false);
  const auto element = static_cast<int64_t>(c10::elementSize(dtype_of(recipe.run.precision)));
  const double row_bytes = static_cast<double>(tokens * recipe.model.width * element);
  const auto warn = [&](Axis axis, double bytes) {
    const int64_t over = spanned(mesh, axis, hosts);
    if (over == 1) return;
    const parallel::AxisRow& row = parallel::row_of(axis);
    notes.push_back(parallel::concat(
        "warning: mesh.", row.name, " = ", mesh.*row.degree, " spans ", over, " hosts: its exchanges, about ",
        megabytes(bytes), " MB an update, go at the speed of the ", "link between hosts; inside a host: mesh.",
        row.name, " = ", largest_inside(mesh, axis, hosts)));
  };
  warn(Axis::kTensor, tensor_bytes(recipe, row_bytes, dense));
  warn(Axis::kExpertTensor, expert_tensor_bytes(recipe, row_bytes));
  if (mesh.dispatch == parallel::Dispatch::kHierarchical && spanned(mesh, Axis::kExpert, hosts) == 1) {
    notes.push_back("mesh.dispatch = \"hierarchical\": every expert axis lies inside one host, so rows go flat");
  }
  return notes;
}

}  // namespace launch
