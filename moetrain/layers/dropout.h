// defines: dropout, by global index
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/base/random.h"

namespace moetrain {

/// x / (1 - p) where kept, 0 where dropped (Srivastava et al. 2014), each element with probability p: element d of row
/// t has the draw of global index (first_row + t) * D + d. p is rounded to a multiple of 2^-16 below 1. x_TD itself for
/// p = 0.
at::Tensor dropout(const at::Tensor& x_TD, double p, const parallel::RandomStream& stream, int64_t first_row);

/// The same of some columns: of D `all`, from `first` on.
struct Columns {
  int64_t first = 0, all = 0;
};
at::Tensor dropout(const at::Tensor& x_TD, double p, const parallel::RandomStream& stream, int64_t first_row,
                   const Columns& columns);

}  // namespace moetrain
