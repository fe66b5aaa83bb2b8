// Initial weights as a function of (seed, global name, global index).
// defines: ParameterSource
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "parallel/base/random.h"

namespace moetrain {

/// Hands out initial parameters, complete at birth. A weight depends on the seed, its full name and the index of
/// each element in the whole tensor, so any shard equals that slice of the whole.
class ParameterSource {
 public:
  ParameterSource(uint64_t seed, at::TensorOptions options) : seed_(seed), options_(options) {}

  /// The source for a child module: names gain "child.".
  ParameterSource at(const std::string& child) const;

  /// Normal with mean 0; drawn in float64 on the CPU, then rounded to the model's dtype. On the meta device: a shape.
  at::Tensor normal(const std::string& name, at::IntArrayRef shape, double std) const;
  at::Tensor constant(const std::string& name, at::IntArrayRef shape, double value) const;

  /// Draws that belong to the model for good, as its weights do: the same when it is evaluated with another seed.
  parallel::RandomStream stream(const std::string& name) const;

  const at::TensorOptions& options() const { return options_; }

 private:
  uint64_t seed_;
  at::TensorOptions options_;
  std::string prefix_;
};

}  // namespace moetrain
