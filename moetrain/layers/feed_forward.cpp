#include "moetrain/layers/feed_forward.h"

#include <ATen/ATen.h>

#include "parallel/base/name_table.h"

namespace moetrain {

Activation parse_activation(const std::string& name) {
  return parallel::NameTable<Activation>(
             "activation", {{"swiglu", Activation::kSwiglu}, {"gelu", Activation::kGelu}, {"relu", Activation::kRelu}})
      .at(name);
}

FeedForward::FeedForward(const ParameterSource& source, const Shape& shape, double std, double output_std)
    : activation_(shape.activation) {
  const auto add = [&](const std::string& name, int64_t in_dim, int64_t out_dim, double init) {
    return register_module(name, std::make_shared<Linear>(source.at(name), in_dim, out_dim, init));
  };
  if (shape.activation == Activation::kSwiglu) gate_ = add("gate", shape.width, shape.hidden, std);
  up_ = add("up", shape.width, shape.hidden, std);
  down_ = add("down", shape.hidden, shape.width, output_std);
}

at::Tensor FeedForward::forward(const at::Tensor& input_TD) const {
  const at::Tensor up = up_->forward(input_TD);
  if (activation_ == Activation::kSwiglu) return down_->forward(at::silu(gate_->forward(input_TD)) * up);
  return down_->forward(activation_ == Activation::kGelu ? at::gelu(up) : at::relu(up));
}

}  // namespace moetrain
