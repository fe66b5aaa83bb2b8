#include "launch/planning/workload.h"

#include <algorithm>

#include "launch/recipe/precision.h"
#include "moetrain/experts/head_experts.h"
#include "moetrain/layers/sequence_rows.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/mesh/expert_map.h"

namespace launch {
namespace {

int64_t rounded_up(int64_t value, int64_t parts) { return (value + parts - 1) / parts; }

TokenCount spread_tokens(int64_t sequences, int64_t length, const parallel::MeshShape& mesh) {
  TokenCount tokens{.world = sequences * length, .length = length, .sequences = sequences};
  tokens.group = rounded_up(sequences, mesh.data) * length;
  tokens.own = rounded_up(tokens.group, mesh.tensor);
  return tokens;
}

}  // namespace

namespace {

/// On the rank that has most to multiply where choices are even.
moetrain::ExpertCosts largest_costs(const Recipe& recipe, const moetrain::MoeConfig& layer,
                                    const moetrain::ExpertShape& shape, int64_t parts) {
  const std::vector<moetrain::ExpertRange> ranges = moetrain::expert_ranges(layer, recipe.registry->experts);
  const parallel::ExpertMap map =
      parallel::expert_map(recipe.mesh, moetrain::weight_sets(layer), moetrain::weight_sets_word(layer));
  moetrain::ExpertCosts most;
  double multiplied = -1;
  for (int64_t rank = 0; rank < std::ssize(map.counts); ++rank) {
    const int64_t count = map.count(rank);
    const moetrain::ExpertCosts costs = moetrain::expert_costs(ranges, {map.first(rank), count}, shape, parts, layer);
    if (static_cast<double>(count) * costs.multiply_adds <= multiplied) continue;
    multiplied = static_cast<double>(count) * costs.multiply_adds;
    most = costs;
  }
  return most;
}

/// In the place of a feed-forward.
PlannedExperts planned_experts(const Recipe& recipe, const moetrain::MoeConfig& moe, const parallel::MeshShape& mesh,
                               const TokenCount& side) {
  PlannedExperts layer{.moe = moe, .kinds = moetrain::expert_kinds(moe)};
  const int64_t width = moe.latent > 0 ? moe.latent : recipe.model.width;
  const moetrain::ExpertShape shape{.width = width, .activation = recipe.model.activation};
  layer.expert = largest_costs(recipe, moe, shape, mesh.expert_tensor);
  layer.row_width = layer.out_width = width;
  const bool all_here = mesh.expert * mesh.expert_tensor == 1 && recipe.run.device == Device::kCpu;
  if (!all_here || moe.rows != moetrain::Rows::kTokens) layer.expert.gathered.reset();
  if (moe.rows == moetrain::Rows::kTokens) return layer;
  const int64_t places = side.length;
  layer.row_width = layer.out_width = moetrain::SequenceRows::width(places, width);
  layer.expert.multiply_adds *= static_cast<double>(places);
  layer.expert.made_again *= static_cast<double>(places);
  layer.expert.kept *= places;
  layer.expert.in_backward *= places;
  return layer;
}

/// In the place of an attention.
PlannedExperts planned_modules(const Recipe& recipe, const moetrain::MoeConfig& moe, const parallel::MeshShape& mesh) {
  const moetrain::ExpertShape shape{.width = recipe.model.width};
  return {.moe = moe,
          .kinds = moetrain::expert_kinds(moe),
          .row_width = recipe.model.width,
          .out_width = moe.hidden,
          .calls = 2,
          .expert = moetrain::half_of(largest_costs(recipe, moe, shape, mesh.expert_tensor))};
}

}  // namespace

TokenCount Workload::routed(const PlannedBlock& block, const PlannedExperts& layer) const {
  const TokenCount& tokens = side(block);
  if (layer.moe.rows == moetrain::Rows::kTokens) return tokens;
  return spread_tokens(tokens.sequences, 1, mesh);
}

int64_t Workload::targets() const {
  return ends.of_sequences ? spread_tokens(tokens.sequences, 1, mesh).group : tokens.group;
}

int64_t Workload::predicted() const { return ends.predicted > 0 ? ends.predicted : own_vocabulary; }

int64_t Workload::expert_layers() const {
  int64_t layers = 0;
  for (const PlannedBlock& block : blocks) layers += std::ssize(block.layers());
  return layers;
}

int64_t Workload::expert_calls() const {
  int64_t calls = 0;
  for (const PlannedBlock& block : blocks) {
    for (const PlannedExperts* layer : block.layers()) calls += layer->calls;
  }
  return calls;
}

Workload workload_of(const Recipe& recipe, int64_t vocabulary, int64_t ranks) {
  Workload work{.mesh = parallel::mesh_shape(recipe.mesh, ranks)};
  work.element = static_cast<int64_t>(c10::elementSize(dtype_of(recipe.run.precision)));
  work.wide = std::max<int64_t>(4, work.element);
  work.micro_batches = recipe.train.micro_batches;
  work.objective = recipe.objective_preset().costs;
  work.passes = work.objective.passes;
  work.ends = recipe.model_preset().ends(recipe.model);
  work.vocabulary = vocabulary;
  work.own_vocabulary = rounded_up(vocabulary, work.mesh.tensor);
  if (recipe.model_preset().reads == moetrain::Reads::kPairs) {
    const int64_t length = std::max<int64_t>(3, recipe.data.longest / 2);
    const int64_t pairs = std::max<int64_t>(1, recipe.train.batch_tokens / work.micro_batches / (2 * length));
    work.tokens = work.source = spread_tokens(pairs, length, work.mesh);
  } else {
    const bool windows = recipe.model_preset().reads == moetrain::Reads::kText;
    const std::optional<moetrain::PatchGrid> images = recipe.documents().images;
    const int64_t length = images ? images->patches() : windows ? recipe.data.sequence_length : recipe.data.longest;
    work.tokens = spread_tokens(recipe.train.global_batch / work.micro_batches, length, work.mesh);
  }
  const auto pre_gated =
      moetrain::pre_gated_layers(moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model)));
  if (!pre_gated.empty()) {
    work.pre_gate.emplace(PlannedPreGate{pre_gated.front().own<moetrain::PreGateConfig>(),
                                         moetrain::expert_kinds(pre_gated.front()).total()});
  }
  work.feed_forward = moetrain::feed_forward_costs(recipe.model.activation);
  const std::vector<bool> attends = moetrain::attention_blocks(recipe.model);
  const int64_t blocks = moetrain::total_blocks(recipe.model);
  const auto experts = moetrain::layer_configs(recipe.moe, blocks);
  const auto modules = moetrain::layer_configs(recipe.moe, blocks, moetrain::Slot::kAttention);
  for (const moetrain::StackShape& stack : recipe.model_preset().stacks(recipe.model)) {
    for (int64_t i = 0; i < stack.blocks; ++i) {
      const auto number = static_cast<size_t>(stack.first_layer + i);
      PlannedBlock& block =
          work.blocks.emplace_back(PlannedBlock{.number = stack.first_layer + i,
                                                .side = stack.side,
                                                .causal = stack.causal,
                                                .attention = attends[number],
                                                .cross = stack.cross,
                                                .parameters = parallel::concat(stack.name, '.', i, '.'),
                                                .of_stack = i == 0 ? stack.name + ".position_bias." : ""});
      if (modules[number]) block.modules = planned_modules(recipe, *modules[number], work.mesh);
      if (experts[number]) block.experts = planned_experts(recipe, *experts[number], work.mesh, work.side(block));
    }
  }
  return work;
}

double most_experts(const Recipe& recipe, const PlannedExperts& layer) {
  const parallel::ExpertMap map = parallel::expert_map(recipe.mesh, moetrain::weight_sets(layer.moe));
  return static_cast<double>(*std::ranges::max_element(map.counts)) / static_cast<double>(map.experts());
}

double choice_share(const PlannedExperts& layer) {
  return static_cast<double>(layer.kinds.ffn) / static_cast<double>(layer.kinds.total());
}

}  // namespace launch
