// How moetrain's parameters become the tensors of a Hugging Face architecture: one rule per tensor written.
// defines: TensorRule, tensor_rules, check_complete, tensors_to_write
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/interchange/architecture.h"
#include "launch/interchange/safetensors.h"

namespace launch::interchange {

/// moetrain's name -> tensor. float64 is written as F32, F32 and BF16 as they are.
using ParameterViews = std::map<std::string, TensorView>;

struct TensorRule {
  std::string target;
  std::vector<int64_t> target_shape;
  std::string source;  // empty: the tensor is all zeros
  std::vector<int64_t> source_shape;
  int64_t expert = -1;  // >= 0: source [E, rows, columns], of which this slice is written transposed
  float scale = 1;      // a power of two, so that nothing is rounded
};

/// Every tensor that choose_architecture(shape) needs, in the order of the blocks.
std::vector<TensorRule> tensor_rules(const ModelShape& shape);

/// A parameter that a rule needs and is missing, that has another shape or dtype, or that no rule uses, is a
/// UserError that names it; a parameter used twice or in part is an InternalError.
void check_complete(const std::vector<TensorRule>& rules, const ParameterViews& parameters);

/// @pre check_complete(rules, parameters). Views are read when the tensors are filled.
std::vector<TensorToWrite> tensors_to_write(const std::vector<TensorRule>& rules, const ParameterViews& parameters);

}  // namespace launch::interchange
