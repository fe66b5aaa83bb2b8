// defines: Precision, dtype_of
#pragma once
#include <c10/core/ScalarType.h>

#include <array>

namespace launch {

/// Of weights and activations.
enum class Precision { kFloat32, kBf16, kFloat64 };
constexpr std::array<const char*, 3> names_of(Precision) { return {"float32", "bf16", "float64"}; }

constexpr c10::ScalarType dtype_of(Precision precision) {
  if (precision == Precision::kBf16) return c10::ScalarType::BFloat16;
  return precision == Precision::kFloat64 ? c10::ScalarType::Double : c10::ScalarType::Float;
}

}  // namespace launch
