#include "launch/planning/memory_model.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "launch/planning/reduction_model.h"
#include "launch/recipe/precision.h"
#include "optim/updates/adamw.h"

namespace launch {
namespace {

int64_t states(const optim::UpdateRule& rule) { return static_cast<int64_t>(rule.slots.size()); }

/// Numbers that an update of the recipe's rule holds beside its state: copies of the largest matrices.
int64_t working_elements(const optim::UpdateRule& rule, const ParameterTable& parameters) {
  int64_t most = 0;
  for (const ParameterShare& share : parameters.own) {
    if (!optim::moves(rule, share.matrices)) continue;
    const int64_t whole = share.matrices
                              ? share.elements / share.matrices->own_elements() * share.matrices->whole_elements()
                              : share.elements;
    most = std::max(most, whole);
  }
  return rule.copies * most;
}

/// All gradients of an update come at once, and then all weights go: each by a block of pinned memory, which LibTorch
/// takes as a power of two and keeps; a block that brought a gradient takes back weights of its size.
int64_t pinned_bytes(const ParameterTable& parameters, bool sharded, int64_t weight, int64_t wide) {
  std::map<uint64_t, std::pair<int64_t, int64_t>> blocks;  // by size: of gradients, of weights
  for (const ParameterShare& share : parameters.own) {
    const int64_t sharers = sharded ? share.sharers : 1, own = (share.elements + sharers - 1) / sharers;
    if (own == 0) continue;
    ++blocks[std::bit_ceil(static_cast<uint64_t>(own * wide))].first;
    ++blocks[std::bit_ceil(static_cast<uint64_t>(own * weight))].second;
  }
  int64_t bytes = 0;
  for (const auto& [size, count] : blocks) bytes += static_cast<int64_t>(size) * std::max(count.first, count.second);
  return bytes;
}

int64_t token_bytes(const Recipe& recipe, const Workload& work) {
  const auto id = static_cast<int64_t>(sizeof(int64_t));
  const int64_t ids = work.micro_batches * id * (2 * work.tokens.group + work.source.group);
  const int64_t positions =
      work.element * static_cast<int64_t>(work.blocks.size()) * work.tokens.length * recipe.model.head_width();
  return ids + positions;
}

}  // namespace

StateMemory state_memory(const Recipe& recipe, const ParameterTable& parameters) {
  const auto type = dtype_of(recipe.run.precision);
  const int64_t weight = static_cast<int64_t>(c10::elementSize(type)), wide = std::max<int64_t>(4, weight);
  const int64_t master = type == at::kBFloat16 ? wide : 0;
  const optim::UpdateRule& rule = recipe.update_rule();
  const UpdatedElements updated = parameters.updated(rule, recipe.mesh.zero > 0, wide);
  const int64_t trained = parameters.trained_elements(), own = updated.total();
  const int64_t slots = states(rule) * updated.by_rule + states(optim::adamw_rule()) * updated.by_adamw +
                        (recipe.optimizer.average > 0 ? own : 0);
  StateMemory state{.weights = parameters.elements() * weight,
                    .gradients = (recipe.mesh.zero < 2 ? trained : 0) * wide + (recipe.mesh.zero > 0 ? own : 0) * wide};
  if (recipe.optimizer.offload) {
    state.host = (own + slots) * wide;
    state.pinned = pinned_bytes(parameters, recipe.mesh.zero > 0, weight, wide);
  } else {
    state.optimizer = own * master + slots * wide;
  }
  return state;
}

MemoryUse memory_use(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                     const Routing& routing) {
  MemoryUse use{.state = state_memory(recipe, parameters), .batch = token_bytes(recipe, work)};
  const optim::UpdateRule& rule = recipe.update_rule();
  const int64_t wide = work.wide, own = parameters.updated(rule, recipe.mesh.zero > 0, wide).total();
  // Of one micro-batch their memory is taken when backward comes to them, and ZeRO 1's sums as they arrive.
  const int64_t at_end = use.state.gradients;
  if (recipe.mesh.zero == 1) use.state.gradients -= own * wide;
  if (work.micro_batches == 1) use.state.gradients = 0;
  std::vector<Stage> stages = activation_stages(recipe, work, routing);
  add_reductions(recipe, parameters, work, stages);
  const ActivationPeak peak = activation_peak(stages);
  // When backward has ended, clipping scales float64 gradients in copies. The buckets of ZeRO 1 are gone by then, which
  // of one micro-batch counts.
  int64_t update = work.micro_batches > 1 ? 0 : recipe.mesh.zero == 1 ? own * wide : at_end;
  if (recipe.run.precision == Precision::kFloat64 && recipe.optimizer.clip_norm > 0) {
    update += own * wide;
  }
  update += working_elements(rule, parameters) * wide;
  if (update > peak.bytes) {
    use.reduction = update;
    use.peak = "the optimizer's update";
    return use;
  }
  use.reduction = peak.reduction;
  use.activations = peak.bytes - peak.rows - peak.head_chunk - peak.reduction;
  use.dispatch = peak.rows;
  use.head = peak.head_chunk;
  use.peak = peak.stage + (peak.backward ? ", backward" : ", forward");
  return use;
}

}  // namespace launch
