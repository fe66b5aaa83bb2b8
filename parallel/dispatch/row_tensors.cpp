#include "parallel/dispatch/row_tensors.h"

#include <ATen/ATen.h>

namespace parallel {

std::vector<at::Tensor> places(const std::vector<int64_t>& widths, int64_t rows, const at::TensorOptions& options) {
  std::vector<at::Tensor> tensors;
  for (const int64_t width : widths) tensors.push_back(at::empty({rows, width}, options));
  return tensors;
}

std::vector<at::Tensor> narrowed(const std::vector<at::Tensor>& tensors, int64_t first, int64_t count) {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& tensor : tensors) parts.push_back(tensor.narrow(0, first, count));
  return parts;
}

}  // namespace parallel
