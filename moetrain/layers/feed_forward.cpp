#include "moetrain/layers/feed_forward.h"

#include <ATen/ATen.h>

#include "moetrain/fused/activations.h"
#include "parallel/base/fault.h"

namespace moetrain {

FeedForwardCosts feed_forward_costs(Activation activation) {
  // Kept: of swiglu gate, up and their product; of gelu both sides of it; of relu its result alone.
  if (activation == Activation::kSwiglu) return {.matrices = 3, .kept_hiddens = 3};
  return {.matrices = 2, .kept_hiddens = activation == Activation::kGelu ? 2 : 1};
}

FeedForward::FeedForward(const ParameterSource& source, const Shape& shape, double std, double output_std)
    : activation_(shape.activation), ranks_(shape.spread ? source.mesh()->shape().tensor : 1) {
  parallel::check_internal(shape.hidden % ranks_ == 0, "FeedForward: ", shape.hidden, " hidden units over ", ranks_);
  const auto add = [&](const std::string& name, int64_t in_dim, int64_t out_dim, double init, Spread spread) {
    return register_module(
        name, std::make_shared<Linear>(source.at(name), in_dim, out_dim, init, shape.spread ? spread : Spread::kNone,
                                       shape.bias ? Bias::kYes : Bias::kNone));
  };
  if (shape.activation == Activation::kSwiglu) gate_ = add("gate", shape.width, shape.hidden, std, Spread::kOut);
  up_ = add("up", shape.width, shape.hidden, std, Spread::kOut);
  down_ = add("down", shape.hidden, shape.width, output_std, Spread::kIn);
}

at::Tensor FeedForward::forward(const at::Tensor& input_TD, const parallel::TokenParts& parts,
                                const AdapterDraws& draws) const {
  parallel::check_internal(parts.ranks() == ranks_, "FeedForward: tokens of ", parts.ranks(),
                           " ranks, hidden units of ", ranks_);
  return down_->with_bias(parts.sum(down_->forward(hidden(parts.gather(input_TD), draws), draws)));
}

at::Tensor FeedForward::hidden(const at::Tensor& input_TD, const AdapterDraws& draws) const {
  const at::Tensor up = up_->forward(input_TD, draws);
  if (activation_ == Activation::kSwiglu) return swiglu(gate_->forward(input_TD, draws), up);
  return activation_ == Activation::kGelu ? at::gelu(up) : at::relu(up);
}

}  // namespace moetrain
