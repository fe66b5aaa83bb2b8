// defines: dtype_of
#pragma once
#include <c10/core/ScalarType.h>

#include <string>

namespace launch {

c10::ScalarType dtype_of(const std::string& precision);  // "float32", "bf16", "float64"

}  // namespace launch
