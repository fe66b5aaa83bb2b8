#include "launch/use/use_recorder.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "moetrain/experts/local_experts.h"
#include "parallel/base/fault.h"
#include "parallel/dispatch/permutation.h"

namespace launch {
namespace {

struct UseSizes {
  int64_t groups = 0, experts = 1, choices = 1, width = 0;
};

/// On the device of the rows, so that nothing is moved but the sums at the end.
LayerUse no_use(const UseSizes& of, std::vector<int64_t> units, at::Device device) {
  const auto routed = std::ssize(units);
  const int64_t hidden = std::ranges::max(units);
  const auto counts = [&](at::IntArrayRef shape) { return at::zeros(shape, at::device(device).dtype(at::kLong)); };
  const auto sums = [&](at::IntArrayRef shape) { return at::zeros(shape, at::device(device).dtype(at::kDouble)); };
  return {.units = std::move(units),
          .seen_G = counts({of.groups}),
          .chosen_GE = counts({of.groups, of.experts}),
          .gates_GE = sums({of.groups, of.experts}),
          .together_GEE = counts({of.groups, of.experts, of.experts}),
          .computing_GN = counts({of.groups, of.choices + 1}),
          .rows_GR = counts({of.groups, routed}),
          .input_square_GRD = sums({of.groups, routed, of.width}),
          .hidden_square_GRF = sums({of.groups, routed, hidden}),
          .hidden_absolute_GRF = sums({of.groups, routed, hidden})};
}

/// Adds 1 at each place.
void tally(const at::Tensor& sum, const at::Tensor& place_N) {
  sum.add_(at::bincount(place_N, {}, sum.numel()).view(sum.sizes()));
}

at::Tensor rows_at(const at::Tensor& sum_GRX) { return sum_GRX.flatten(0, 1); }

}  // namespace

UseRecorder::UseRecorder(std::vector<std::string> groups, const std::vector<moetrain::StackShape>& stacks)
    : groups_(std::move(groups)) {
  for (const moetrain::StackShape& stack : stacks) {
    for (int64_t i = 0; i < stack.blocks; ++i) side_of_block_[stack.first_layer + i] = stack.side;
  }
}

LayerUse& UseRecorder::layer_of(int64_t block, LayerPart part, const std::function<LayerUse()>& zeros) {
  const auto found = layers_.find({block, part});
  if (found != layers_.end()) return found->second;
  LayerUse& made = layers_[{block, part}] = zeros();
  made.block = block;
  made.part = part;
  return made;
}

at::Tensor UseRecorder::groups_of(int64_t block, moetrain::Rows rows) const {
  return groups_of_(rows, side_of_block_.at(block));
}

void UseRecorder::see(const moetrain::ObservedFeedForward& seen) {
  const UseSizes sizes{.groups = std::ssize(groups_), .width = seen.input_TD.size(1)};
  LayerUse& layer = layer_of(seen.layer, seen.shared ? LayerPart::kShared : LayerPart::kDense,
                             [&] { return no_use(sizes, {seen.hidden_TF.size(1)}, seen.input_TD.device()); });
  const at::Tensor group_T = groups_of(seen.layer, moetrain::Rows::kTokens);
  const at::Tensor kept_N = (group_T >= 0).nonzero().squeeze(1), group_N = group_T.index_select(0, kept_N);
  const at::Tensor of_group_G = at::bincount(group_N, {}, sizes.groups), of_group_G1 = of_group_G.unsqueeze(1);
  layer.seen_G.add_(of_group_G);
  layer.chosen_GE.add_(of_group_G1);
  layer.gates_GE.add_(of_group_G1);
  layer.together_GEE.add_(of_group_G1.unsqueeze(2));
  layer.computing_GN.select(1, 1).add_(of_group_G);
  layer.rows_GR.add_(of_group_G1);
  const at::Tensor hidden_NF = seen.hidden_TF.index_select(0, kept_N).to(at::kDouble);
  rows_at(layer.input_square_GRD)
      .index_add_(0, group_N, seen.input_TD.index_select(0, kept_N).to(at::kDouble).square());
  rows_at(layer.hidden_absolute_GRF).index_add_(0, group_N, hidden_NF.abs());
  rows_at(layer.hidden_square_GRF).index_add_(0, group_N, hidden_NF.square());
}

void UseRecorder::see(const moetrain::ObservedExperts& seen) {
  const moetrain::RoutingDecision& decision = seen.decision;
  const at::Tensor& chosen_TK = decision.chosen_TK;
  const int64_t experts = decision.assignment.num_experts, choices = chosen_TK.size(1);
  const bool travels = seen.input_TD.defined();
  const LayerPart part = seen.slot == moetrain::Slot::kAttention ? LayerPart::kModules : LayerPart::kExperts;
  LayerUse& layer = layer_of(seen.layer, part, [&] {
    std::vector<int64_t> units =
        travels ? seen.hidden_units : std::vector<int64_t>(static_cast<size_t>(seen.routed), 0);
    return no_use({std::ssize(groups_), experts, choices, travels ? seen.input_TD.size(1) : 0}, std::move(units),
                  chosen_TK.device());
  });
  const at::Tensor group_T = groups_of(seen.layer, seen.rows);
  const at::Tensor counts_T1 = (group_T >= 0).unsqueeze(1), chosen_it_TK = counts_T1 & (chosen_TK >= 0);
  const at::Tensor kept_N = (group_T >= 0).nonzero().squeeze(1), group_N = group_T.index_select(0, kept_N);
  layer.seen_G.add_(at::bincount(group_N, {}, std::ssize(groups_)));
  const at::Tensor place_TK = group_T.unsqueeze(1) * experts + chosen_TK;
  tally(layer.chosen_GE, place_TK.masked_select(chosen_it_TK));
  layer.gates_GE.flatten().index_add_(0, place_TK.masked_select(chosen_it_TK),
                                      decision.gate_TK.masked_select(chosen_it_TK).to(at::kDouble));
  // Choices of a row are distinct: each pair of them, in both orders, and each with itself.
  const at::Tensor pair_TKK = place_TK.unsqueeze(2) * experts + chosen_TK.unsqueeze(1);
  tally(layer.together_GEE, pair_TKK.masked_select(chosen_it_TK.unsqueeze(2) & chosen_it_TK.unsqueeze(1)));
  const at::Tensor computing_T = (chosen_it_TK & (chosen_TK < seen.computing)).sum(1);
  tally(layer.computing_GN, (group_T * (choices + 1) + computing_T).index_select(0, kept_N));
  if (!travels) return;

  const at::Tensor dispatched_TK = moetrain::dispatched_choices(decision.assignment, seen.routed).expert_TK;
  const parallel::Permutation sorted = parallel::sort_by_expert(
      dispatched_TK.masked_fill(counts_T1.logical_not(), parallel::Assignment::kDropped), seen.routed);
  const at::Tensor expert_R = dispatched_TK.flatten().index_select(0, sorted.slot_R);
  const at::Tensor place_R = group_T.index_select(0, sorted.token_R) * seen.routed + expert_R;
  const at::Tensor rows_RD = parallel::gather_rows(seen.input_TD, sorted);
  tally(layer.rows_GR, place_R);
  rows_at(layer.input_square_GRD).index_add_(0, place_R, rows_RD.to(at::kDouble).square());
  if (layer.hidden_square_GRF.size(2) == 0 || sorted.rows() == 0) return;
  const at::Tensor hidden_RF = (seen.hidden_TKF.defined() ? seen.hidden_TKF.flatten(0, 1).index_select(0, sorted.slot_R)
                                                          : seen.hidden(rows_RD, sorted.rows_per_expert.on_host()))
                                   .to(at::kDouble);
  rows_at(layer.hidden_absolute_GRF).index_add_(0, place_R, hidden_RF.abs());
  rows_at(layer.hidden_square_GRF).index_add_(0, place_R, hidden_RF.square());
}

ExpertUse UseRecorder::sums(parallel::Communicator& control) const {
  ExpertUse use{.groups = groups_};
  for (const auto& [place, own] : layers_) {
    LayerUse& all = use.layers.emplace_back(own);
    for (at::Tensor* each : {&all.seen_G, &all.chosen_GE, &all.gates_GE, &all.together_GEE, &all.computing_GN,
                             &all.rows_GR, &all.input_square_GRD, &all.hidden_square_GRF, &all.hidden_absolute_GRF}) {
      *each = each->to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
      if (each->numel() > 0) control.all_reduce(*each, parallel::ReduceOp::kSum).wait();
    }
  }
  return use;
}

}  // namespace launch
