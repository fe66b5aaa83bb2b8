#include "moetrain/layers/feed_forward.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"

namespace moetrain {

Activation parse_activation(const std::string& name) {
  parallel::check_internal(name == "swiglu" || name == "gelu", "unknown activation '", name, "'");
  return name == "swiglu" ? Activation::kSwiglu : Activation::kGelu;
}

FeedForward::FeedForward(const ParameterSource& source, const Shape& shape, double std, double output_std) {
  const auto add = [&](const std::string& name, int64_t in_dim, int64_t out_dim, double init) {
    return register_module(name, std::make_shared<Linear>(source.at(name), in_dim, out_dim, init));
  };
  if (shape.activation == Activation::kSwiglu) gate_ = add("gate", shape.width, shape.hidden, std);
  up_ = add("up", shape.width, shape.hidden, std);
  down_ = add("down", shape.hidden, shape.width, output_std);
}

at::Tensor FeedForward::forward(const at::Tensor& input_TD) const {
  const at::Tensor up = up_->forward(input_TD);
  return down_->forward(gate_ ? at::silu(gate_->forward(input_TD)) * up : at::gelu(up));
}

}  // namespace moetrain
