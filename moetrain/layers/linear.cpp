#include "moetrain/layers/linear.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "moetrain/fused/few_rows.h"
#include "parallel/base/even_part.h"

namespace moetrain {
namespace {

at::Tensor multiplied(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  if (has_few_rows(input, weight)) return few_rows_linear(input, weight, bias);
  return bias.defined() ? at::linear(input, weight, bias) : at::linear(input, weight);
}

}  // namespace

Linear::Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread, Bias with)
    : weight(register_parameter("weight",
                                spread == Spread::kNone
                                    ? source.normal("weight", {out_dim, in_dim}, std)
                                    : source.spread("weight", {out_dim, in_dim}, spread == Spread::kOut ? 0 : 1, std))),
      summand_(spread == Spread::kIn) {
  if (with == Bias::kYes) {
    bias = register_parameter("bias", spread == Spread::kOut ? source.spread("bias", {out_dim}, 0, 0.0)
                                                             : source.constant("bias", {out_dim}, 0.0));
  }
  if (source.adapts("", {.weight = "weight", .a = "lora_a", .b = "lora_b"})) {
    add_adapter(source, in_dim, out_dim, spread);
  }
}

void Linear::add_adapter(const ParameterSource& source, int64_t in_dim, int64_t out_dim, Spread spread) {
  const LoraConfig& config = source.adapters()->config();
  scale_ = config.scale();
  dropout_ = config.dropout;
  purpose_ = "dropout, adapter of " + source.adapters()->all().back().layer;
  const std::vector<int64_t> of_a{config.rank, in_dim}, of_b{out_dim, config.rank};
  const double bound = 1 / std::sqrt(static_cast<double>(in_dim));
  const auto place_a = spread == Spread::kIn ? source.spread_of(of_a, 1) : parallel::whole_placement(of_a);
  const auto place_b = spread == Spread::kOut ? source.spread_of(of_b, 0) : parallel::whole_placement(of_b);
  const auto here = parallel::even_part(in_dim, source.mesh()->place().tensor, source.mesh()->shape().tensor);
  inputs_ = {.first = spread == Spread::kIn ? here.begin : 0, .all = in_dim};
  lora_a = register_parameter("lora_a", source.uniform("lora_a", place_a, bound));
  lora_b = register_parameter("lora_b", source.normal("lora_b", place_b, 0.0));
}

at::Tensor Linear::forward(const at::Tensor& input, const AdapterDraws& draws) const {
  return forward(input, 0, weight.size(0), draws);
}

at::Tensor Linear::forward(const at::Tensor& input, int64_t first, int64_t count, const AdapterDraws& draws) const {
  const auto own = [&](const at::Tensor& of_outputs) {
    return count == of_outputs.size(0) ? of_outputs : of_outputs.narrow(0, first, count);
  };
  const at::Tensor output = multiplied(input, own(weight), bias.defined() && !summand_ ? own(bias) : at::Tensor());
  if (!lora_a.defined()) return output;
  const at::Tensor adapted = dropout_ > 0 && draws.key
                                 ? dropout(input, dropout_, draws.key->stream(purpose_, 0), draws.first_row, inputs_)
                                 : input;
  return output.add(at::linear(at::linear(adapted, lora_a), own(lora_b)), scale_);
}

at::Tensor Linear::with_bias(const at::Tensor& sum) const { return bias.defined() && summand_ ? sum + bias : sum; }

}  // namespace moetrain
