// defines: random_tensor
#pragma once
#include <ATen/ATen.h>

#include <string_view>

#include "parallel/base/random.h"

/// Standard normal float64, a function of name and index.
inline at::Tensor random_tensor(std::string_view name, at::IntArrayRef shape, double std = 1.0) {
  const parallel::RandomStream stream(17, name);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  double* value = tensor.mutable_data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) value[i] = std * stream.normal(i);
  return tensor;
}
