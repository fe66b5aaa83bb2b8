#include "launch/recipe/precision.h"

#include "parallel/base/name_table.h"

namespace launch {

at::ScalarType dtype_of(const std::string& precision) {
  return parallel::NameTable<at::ScalarType>(
             "precision", {{"float32", at::kFloat}, {"bf16", at::kBFloat16}, {"float64", at::kDouble}})
      .at(precision);
}

}  // namespace launch
