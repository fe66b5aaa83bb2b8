#include "launch/interchange/tensors/block_formats.h"

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

constexpr int64_t kBlock = 128;  // rows and columns of a block of fp8
constexpr int64_t kGroup = 32;   // numbers of a group of mxfp4
const std::string kScaleInv = "_scale_inv", kBlocks = "_blocks", kScales = "_scales";

using Shape = std::vector<int64_t>;

uint16_t bits(double value) { return c10::BFloat16(static_cast<float>(value)).x; }

/// By code: 1 sign, 4 bits of exponent with bias 7, 3 of mantissa; 0x7F and 0xFF are no numbers.
const std::array<float, 256>& e4m3() {
  static const std::array<float, 256> kTable = [] {
    std::array<float, 256> table{};
    for (int code = 0; code < 256; ++code) {
      const int exponent = code >> 3 & 15, mantissa = code & 7;
      const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
      table[static_cast<size_t>(code)] = static_cast<float>((code & 128) != 0 ? -size : size);
      if ((code & 127) == 127) table[static_cast<size_t>(code)] = std::nanf("");
    }
    return table;
  }();
  return kTable;
}

constexpr std::array<double, 8> kE2m1 = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

void require(bool holds, const std::string& name, const std::string& why) {
  if (!holds) parallel::user_error("tensor '", name, "' ", why);
}

Shape fp8_shape(const TensorFolder& folder, const std::string& name) {
  const TensorView codes = folder.view(name), scales = folder.view(name + kScaleInv);
  require(codes.dtype == "F8_E4M3" && codes.shape.size() == 2, name,
          "of type " + codes.dtype + ", shape " + shape_text(codes.shape) + "; wanted a matrix of F8_E4M3");
  const Shape grid = {(codes.shape[0] + kBlock - 1) / kBlock, (codes.shape[1] + kBlock - 1) / kBlock};
  require(scales.dtype == "F32" && scales.shape == grid, name + kScaleInv,
          "of type " + scales.dtype + ", shape " + shape_text(scales.shape) + "; wanted F32 " + shape_text(grid));
  return codes.shape;
}

Shape mxfp4_shape(const TensorFolder& folder, const std::string& name) {
  require(folder.holds(name + kBlocks) && folder.holds(name + kScales), name, "lacks its _blocks or its _scales");
  const TensorView blocks = folder.view(name + kBlocks), scales = folder.view(name + kScales);
  require(
      blocks.dtype == "U8" && blocks.shape.size() == 4 && blocks.shape[3] == kGroup / 2, name + kBlocks,
      "of type " + blocks.dtype + ", shape " + shape_text(blocks.shape) + "; wanted U8 [experts, outputs, groups, 16]");
  const Shape wanted(blocks.shape.begin(), blocks.shape.end() - 1);
  require(scales.dtype == "U8" && scales.shape == wanted, name + kScales,
          "of type " + scales.dtype + ", shape " + shape_text(scales.shape) + "; wanted U8 " + shape_text(wanted));
  return {blocks.shape[0], blocks.shape[2] * kGroup, blocks.shape[1]};
}

void decode_fp8(const TensorFolder& folder, DecodedTensor& out) {
  const auto* codes = static_cast<const uint8_t*>(folder.view(out.name).data);
  const auto* scales = static_cast<const char*>(folder.view(out.name + kScaleInv).data);  // float32, placed anywhere
  const int64_t rows = out.shape[0], columns = out.shape[1], across = (columns + kBlock - 1) / kBlock;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float scale = 0;
      std::memcpy(&scale, scales + 4 * (row / kBlock * across + column / kBlock), sizeof(scale));
      out.values[static_cast<size_t>(row * columns + column)] = bits(e4m3()[codes[row * columns + column]] * scale);
    }
  }
}

void decode_mxfp4(const TensorFolder& folder, DecodedTensor& out) {
  const auto* blocks = static_cast<const uint8_t*>(folder.view(out.name + kBlocks).data);
  const auto* scales = static_cast<const uint8_t*>(folder.view(out.name + kScales).data);
  const int64_t experts = out.shape[0], inputs = out.shape[1], outputs = out.shape[2], groups = inputs / kGroup;
  for (int64_t expert = 0; expert < experts; ++expert) {
    for (int64_t output = 0; output < outputs; ++output) {
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t block = (expert * outputs + output) * groups + group;
        for (int64_t i = 0; i < kGroup; ++i) {
          const int code = blocks[block * kGroup / 2 + i / 2] >> (i % 2 * 4) & 15;
          const double size = std::ldexp(kE2m1[static_cast<size_t>(code & 7)], scales[block] - 127);
          const int64_t there = (expert * inputs + group * kGroup + i) * outputs + output;
          out.values[static_cast<size_t>(there)] = bits((code & 8) != 0 ? -size : size);
        }
      }
    }
  }
}

}  // namespace

BlockFormats::BlockFormats(const TensorFolder& folder, const Json& config, const std::string& place) : folder_(folder) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return;
  method_ = found->is_object() && found->value("quant_method", Json()) == "fp8" ? Method::kFp8 : Method::kMxfp4;
  const std::string method = found->is_object() ? found->value("quant_method", Json()).dump() : "";
  const bool fp8 = method == "\"fp8\"";
  if (!fp8 && method != "\"mxfp4\"") {
    parallel::user_error(place, ": quantization_config has the quant_method ", method, "; known: \"fp8\", \"mxfp4\"");
  }
  const Json size = found->value("weight_block_size", Json());
  if (fp8 && size != Json({kBlock, kBlock})) {
    parallel::user_error(place, ": quantization_config has a weight_block_size of ", size.dump(),
                         "; known: [128, 128]");
  }
}

bool BlockFormats::holds(const std::string& name) const {
  if (method_ == Method::kFp8) return folder_.holds(name) && folder_.holds(name + kScaleInv);
  return method_ == Method::kMxfp4 && folder_.holds(name + kBlocks) && !folder_.holds(name);
}

Shape BlockFormats::shape(const std::string& name) const {
  return method_ == Method::kMxfp4 ? mxfp4_shape(folder_, name) : fp8_shape(folder_, name);
}

DecodedTensor BlockFormats::decoded(const std::string& name) const {
  DecodedTensor out{.name = name, .shape = shape(name), .values = {}};
  out.values.resize(static_cast<size_t>(element_count(out.shape)));
  (method_ == Method::kMxfp4 ? decode_mxfp4 : decode_fp8)(folder_, out);
  return out;
}

std::optional<std::string> BlockFormats::whole_of(const std::string& part) const {
  for (const std::string& ending : {kScaleInv, kBlocks, kScales}) {
    const std::string name = part.ends_with(ending) ? part.substr(0, part.size() - ending.size()) : "";
    if (!name.empty() && holds(name)) return name;
  }
  return std::nullopt;
}

}  // namespace launch::interchange
