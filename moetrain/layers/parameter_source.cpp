#include "moetrain/layers/parameter_source.h"

#include <ATen/ATen.h>

namespace moetrain {

ParameterSource ParameterSource::at(const std::string& child) const {
  ParameterSource source = *this;
  source.prefix_ = prefix_ + child + ".";
  return source;
}

at::Tensor ParameterSource::normal(const std::string& name, at::IntArrayRef shape, double std) const {
  if (options_.device().is_meta()) return at::empty(shape, options_);  // shapes only: nothing to draw
  const parallel::RandomStream stream(seed_, "initial weights: " + prefix_ + name);
  at::Tensor drawn = at::empty(shape, at::kDouble);
  double* value = drawn.mutable_data_ptr<double>();
  for (int64_t i = 0; i < drawn.numel(); ++i) value[i] = std * stream.normal(i);
  return drawn.to(options_);
}

parallel::RandomStream ParameterSource::stream(const std::string& name) const {
  return {seed_, "fixed draws: " + prefix_ + name};
}

at::Tensor ParameterSource::constant(const std::string&, at::IntArrayRef shape, double value) const {
  return at::full(shape, value, options_);
}

}  // namespace moetrain
