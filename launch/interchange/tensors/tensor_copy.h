// defines: read_block, write_block: the elements of a rule, from the folder's tensor to the parameter's and back
#pragma once
#include <cstddef>
#include <span>

#include "launch/interchange/tensors/safetensors.h"
#include "launch/interchange/tensors/tensor_rules.h"
#include "parallel/mesh/placement.h"

namespace launch::interchange {

/// Elements `own` of the rule's block, in the parameter's order, from the folder's tensor, as `dtype` into `out`.
/// float64, float32, float16 and bfloat16 on both sides; bits are kept where they are the same. UserError, naming the
/// tensor: a number that the narrower type cannot hold. All threads take part.
void read_block(const TensorRule& rule, const TensorView& target, const parallel::ElementRange& own,
                const std::string& dtype, void* out);

/// The whole block from the parameter into the bytes of the folder's tensor. Likewise.
void write_block(const TensorRule& rule, const TensorView& source, const std::string& dtype,
                 std::span<std::byte> target);

}  // namespace launch::interchange
