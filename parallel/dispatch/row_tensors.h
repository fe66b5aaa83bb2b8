// defines: places, narrowed: tensors with a row for each of an expert's rows
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace parallel {

/// [rows, width] for each width, to be written.
std::vector<at::Tensor> places(const std::vector<int64_t>& widths, int64_t rows, const at::TensorOptions& options);

/// Of each tensor a range of its first dimension.
std::vector<at::Tensor> narrowed(const std::vector<at::Tensor>& tensors, int64_t first, int64_t count);

}  // namespace parallel
