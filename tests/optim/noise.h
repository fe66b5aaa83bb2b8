// defines: noise: reproducible normal draws
#pragma once
#include <ATen/ATen.h>

#include "parallel/base/random.h"

namespace optim {

inline at::Tensor noise(const char* name, int64_t step, at::IntArrayRef shape, at::ScalarType type = at::kDouble) {
  const parallel::RandomStream stream(3, name, 0, step);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data_ptr<double>()[i] = stream.normal(i);
  return tensor.to(type);
}

}  // namespace optim
