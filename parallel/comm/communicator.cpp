#include "parallel/comm/communicator.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"

namespace parallel {

void check_reducible(const at::Tensor& tensor) {
  const at::ScalarType type = tensor.scalar_type();
  check_internal(type == at::kFloat || type == at::kDouble || type == at::kLong, "Communicator: tensor of type ", type,
                 "; legal: float32, float64, int64");
  check_internal(tensor.is_contiguous(), "Communicator: tensor of shape ", tensor.sizes(), " must be contiguous");
}

void check_gatherable(const at::Tensor& gathered, const at::Tensor& part, int64_t ranks) {
  check_reducible(gathered);
  check_reducible(part);
  check_internal(gathered.dim() == part.dim() + 1 && gathered.size(0) == ranks &&
                     gathered.sizes().slice(1) == part.sizes() && gathered.scalar_type() == part.scalar_type(),
                 "all_gather: ", part.scalar_type(), " ", part.sizes(), " from each of ", ranks,
                 " ranks does not fill ", gathered.scalar_type(), " ", gathered.sizes());
}

}  // namespace parallel
