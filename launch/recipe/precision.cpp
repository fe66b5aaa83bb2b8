#include "launch/recipe/precision.h"

namespace launch {

c10::ScalarType dtype_of(Precision precision) {
  if (precision == Precision::kBf16) return at::kBFloat16;
  return precision == Precision::kFloat64 ? at::kDouble : at::kFloat;
}

}  // namespace launch
