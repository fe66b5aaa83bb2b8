#include "launch/planning/parameter_table.h"

#include <algorithm>
#include <map>
#include <memory>

#include "launch/recipe/recipe_model.h"
#include "moetrain/models/models.h"
#include "moetrain/moe/expert_blocks.h"

namespace launch {
namespace {

/// Whether some layer's experts are of several kinds or widths.
bool unequal_experts(const Recipe& recipe) {
  return std::ranges::any_of(
      moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model)),
      [&](const auto& layer) { return expert_ranges(layer, recipe.registry->experts).size() > 1; });
}

}  // namespace

int64_t ParameterTable::trained_elements() const {
  int64_t sum = 0;
  for (const ParameterShare& share : own) sum += share.elements;
  return sum;
}

int64_t ParameterTable::elements() const {
  int64_t sum = trained_elements();
  for (const ParameterShare& share : frozen) sum += share.elements;
  return sum;
}

int64_t ParameterTable::whole(parallel::Replicas replicas) const {
  int64_t sum = 0;
  for (const ParameterShare& share : own) sum += share.replicas == replicas ? share.whole : 0;
  return sum;
}

int64_t ParameterTable::largest() const {
  int64_t most = 0;
  for (const ParameterShare& share : own) most = std::max(most, share.elements);
  return most;
}

const ParameterShare* ParameterTable::find(const std::string& name) const {
  for (const std::vector<ParameterShare>* shares : {&own, &frozen}) {
    const auto found = std::ranges::find(*shares, name, &ParameterShare::name);
    if (found != shares->end()) return &*found;
  }
  return nullptr;
}

std::vector<parallel::GradientShape> ParameterTable::gradients(const optim::UpdateRule& rule) const {
  std::vector<parallel::GradientShape> all;
  for (const ParameterShare& share : own) {
    all.push_back({.elements = share.elements,
                   .group = static_cast<int64_t>(share.replicas),
                   .unit = optim::unit_of(rule, share.matrices)});
  }
  return all;
}

UpdatedElements ParameterTable::updated(const optim::UpdateRule& rule, bool sharded, int64_t wide) const {
  UpdatedElements sum;
  std::map<parallel::Replicas, std::vector<int64_t>> in_units;  // of each sharer
  if (sharded && rule.granularity == optim::Granularity::kMatrix) {
    const std::vector<parallel::GradientShape> shapes = gradients(rule);
    for (const auto& bucket : parallel::gradient_buckets(shapes, wide, parallel::kBucketBytes)) {
      const ParameterShare& first = own[bucket.members.front()];
      if (!first.matrices) continue;
      const std::vector<int64_t> cut = parallel::cut_of(bucket, shapes, first.sharers);
      std::vector<int64_t>& of_rank = in_units[first.replicas];
      of_rank.resize(cut.size());
      for (size_t r = 0; r < cut.size(); ++r) of_rank[r] += cut[r];
    }
  }
  for (const auto& [replicas, of_rank] : in_units) sum.by_rule += *std::ranges::max_element(of_rank);
  for (const ParameterShare& share : own) {
    if (!in_units.empty() && share.matrices) continue;
    const int64_t sharers = sharded ? share.sharers : 1;
    (optim::moves(rule, share.matrices) ? sum.by_rule : sum.by_adamw) += (share.elements + sharers - 1) / sharers;
  }
  return sum;
}

ParameterTable count_parameters(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank) {
  const auto mesh = std::make_shared<const parallel::Mesh>(recipe.mesh, ranks, rank);
  const auto model = build_model(recipe, vocabulary, at::kMeta, mesh);
  const moetrain::ParameterCount count = model->parameter_count();
  ParameterTable table{.total = count.total, .active = count.active, .trained = count.trained};
  const std::vector<std::optional<parallel::MatrixParts>> matrices = model->matrices();
  size_t i = 0;
  for (const auto& parameter : model->named_parameters()) {
    ParameterShare share{.name = parameter.key(), .elements = parameter.value().numel()};
    share.whole = share.elements;
    const auto found = model->placements().find(share.name);
    if (found != model->placements().end()) {
      share.whole = found->second.global_elements();
      share.replicas = found->second.replicas;
    }
    share.sharers = mesh->sharers(share.replicas);
    share.matrices = matrices[i++];
    (parameter.value().requires_grad() ? table.own : table.frozen).push_back(std::move(share));
  }
  return table;
}

// The last rank has the largest parts of what does not come out even, and of experts that are unequal or spread by an
// explicit map whoever has most.
ParameterTable largest_parameters(const Recipe& recipe, int64_t vocabulary, const parallel::MeshShape& mesh) {
  const int64_t last = mesh.ranks() - 1;
  ParameterTable most = count_parameters(recipe, vocabulary, mesh.ranks(), last);
  if (recipe.mesh.experts_by_rank.empty() && !unequal_experts(recipe)) return most;
  const int64_t block = mesh.expert * mesh.expert_tensor;
  for (int64_t x = 0; x < mesh.expert; ++x) {
    const int64_t rank = last - (block - 1) + x * mesh.expert_tensor + mesh.expert_tensor - 1;
    ParameterTable other = count_parameters(recipe, vocabulary, mesh.ranks(), rank);
    if (other.elements() > most.elements()) most = std::move(other);
  }
  return most;
}

}  // namespace launch
