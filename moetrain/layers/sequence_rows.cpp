#include "moetrain/layers/sequence_rows.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {
namespace {

const Sequences& sequences_of(const BatchScope& tokens) {
  parallel::check_internal(tokens.sequences.has_value(), "SequenceRows: the tokens form no sequences");
  return *tokens.sequences;
}

/// Of the group's sequences those that this rank computes.
std::vector<int64_t> own_lengths(const BatchScope& tokens) {
  const std::vector<int64_t>& lengths = tokens.sequences->lengths();
  const at::Tensor own_R = tokens.parts.of(tokens.sequences->count()).own(at::tensor(lengths, at::kLong)).contiguous();
  return {own_R.const_data_ptr<int64_t>(), own_R.const_data_ptr<int64_t>() + own_R.numel()};
}

}  // namespace

BatchScope scope_of_sequences(const BatchScope& tokens) {
  const parallel::TokenParts parts = tokens.parts.of(sequences_of(tokens).count());
  const at::Tensor& number_S = tokens.number_S;
  BatchScope scope = tokens;
  scope.global_tokens = tokens.global_sequences;
  scope.first_token = (number_S.numel() > 0 ? number_S[0].item<int64_t>() : 0) + parts.first();
  scope.sequence_T = parts.own(number_S);
  scope.sequences.reset();
  scope.number_S = at::Tensor();
  scope.task_T = tokens.task_S.defined() ? parts.own(tokens.task_S) : at::Tensor();
  scope.task_S = at::Tensor();
  scope.longest = 1;
  scope.token_ids_T = at::Tensor();
  scope.parts = parts;
  return scope;
}

SequenceRows::SequenceRows(const BatchScope& tokens)
    : parts_(tokens.parts),
      group_tokens_(sequences_of(tokens).tokens()),
      longest_(tokens.longest),
      own_(own_lengths(tokens), tokens.sequences->device()),
      scope_(scope_of_sequences(tokens)) {
  first_token_ = tokens.sequences->first_token(scope_.parts.first());
}

at::Tensor SequenceRows::own(const at::Tensor& x_TD) const {
  return parts_.gather(x_TD).narrow(0, first_token_, own_.tokens());
}

at::Tensor SequenceRows::back(const at::Tensor& x_ND) const {
  const int64_t behind = group_tokens_ - first_token_ - own_.tokens();
  if (first_token_ + behind == 0) return parts_.sum(x_ND);
  return parts_.sum(at::constant_pad_nd(x_ND, {0, 0, first_token_, behind}));
}

parallel::Assignment SequenceRows::of_tokens(const parallel::Assignment& of_rows) const {
  const at::Tensor row_N = parallel::send(own_.sequence_T(), of_rows.expert_TK.device());
  return {of_rows.expert_TK.index_select(0, row_N), of_rows.weight_TK.index_select(0, row_N), of_rows.num_experts};
}

at::Tensor SequenceRows::pack(const at::Tensor& x_ND) const {
  const at::Tensor there_N1 = at::ones({x_ND.size(0), 1}, x_ND.options().requires_grad(false));
  const at::Tensor place_RLE = own_.pad(at::cat({x_ND, there_N1}, 1));
  return at::constant_pad_nd(place_RLE, {0, 0, 0, longest_ - own_.longest()}).flatten(1);
}

at::Tensor SequenceRows::unpack(const at::Tensor& row_RX) const {
  const at::Tensor place_RLE =
      row_RX.view({own_.count(), longest_, row_RX.size(1) / longest_}).narrow(1, 0, own_.longest());
  return own_.unpad(place_RLE.narrow(2, 0, place_RLE.size(2) - 1));
}

}  // namespace moetrain
