// defines: Precision, dtype_of
#pragma once
#include <c10/core/ScalarType.h>

#include <array>

namespace launch {

/// Of weights and activations.
enum class Precision { kFloat32, kBf16, kFloat64 };
constexpr std::array<const char*, 3> names_of(Precision) { return {"float32", "bf16", "float64"}; }

c10::ScalarType dtype_of(Precision precision);

}  // namespace launch
