// Weights in blocks that share a scale, as published folders have them. defines: BlockFormats
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "launch/interchange/tensors/json_object.h"
#include "launch/interchange/tensors/tensor_folder.h"

namespace launch::interchange {

/// What a tensor's blocks decode to: bfloat16, in memory.
struct DecodedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<uint16_t> values;  // bits

  TensorView view() const { return {.dtype = "BF16", .shape = shape, .data = values.data()}; }
};

/// The tensors of a folder whose weights are stored in blocks:
/// fp8 (DeepSeek-V3): NAME of float8 e4m3 [R, C], NAME_scale_inv float32, one factor for each 128 x 128 block; a weight
///   is its float8 times its block's factor;
/// mxfp4 (GPT-OSS; OCP Microscaling 1.0): NAME_blocks uint8 [E, O, G, 16], two numbers a byte, the low half first, and
///   NAME_scales uint8 [E, O, G]; a number is a float4 e2m1 times 2^(scale - 127), and the tensor [E, 32 G, O], inputs
///   before outputs. Exact in bfloat16 but for the smallest and largest scales.
class BlockFormats {
 public:
  /// What config.json's quantization_config says; plain folders have none. UserError for another format than these two.
  BlockFormats(const TensorFolder& folder, const Json& config, const std::string& place);

  /// Whether NAME is there in blocks of that format.
  bool holds(const std::string& name) const;
  /// Its shape once decoded. UserError, naming the tensor, where its parts do not fit together.
  std::vector<int64_t> shape(const std::string& name) const;
  DecodedTensor decoded(const std::string& name) const;
  /// Whether a tensor of the folder is a part of one in blocks; then of which.
  std::optional<std::string> whole_of(const std::string& part) const;

 private:
  enum class Method { kNone, kFp8, kMxfp4 };

  const TensorFolder& folder_;
  Method method_ = Method::kNone;
};

}  // namespace launch::interchange
