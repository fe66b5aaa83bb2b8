#include "moetrain/models/document_shape.h"

#include <ATen/ATen.h>

namespace moetrain {

at::Tensor patches_of(const at::Tensor& image_SHWC, const PatchGrid& grid) {
  const int64_t p = grid.patch, rows = grid.height / p, columns = grid.width / p;
  return image_SHWC.view({-1, rows, p, columns, p, grid.channels})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({-1, grid.numbers()});
}

at::Tensor images_of(const at::Tensor& patch_TC, const PatchGrid& grid) {
  const int64_t p = grid.patch, rows = grid.height / p, columns = grid.width / p;
  return patch_TC.view({-1, rows, columns, p, p, grid.channels})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({-1, grid.height, grid.width, grid.channels});
}

}  // namespace moetrain
