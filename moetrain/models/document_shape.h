// What a model wants of the documents that it reads. defines: PatchGrid, patches_of, images_of, DocumentShape
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace moetrain {

/// How images become tokens: cut into squares, row by row. @pre `patch` divides both sides
struct PatchGrid {
  int64_t height = 0, width = 0, channels = 0;  // of an image, in pixels and numbers of a pixel
  int64_t patch = 1;                            // side of a square [pixels]

  int64_t patches() const { return height / patch * (width / patch); }
  int64_t numbers() const { return patch * patch * channels; }  // of a patch
};

// S images of H rows of W pixels of C channels, cut into N patches of p x p

/// [S, H, W, C], or its numbers in that order -> [S N, p p C], and back.
at::Tensor patches_of(const at::Tensor& image_SHWC, const PatchGrid& grid);
at::Tensor images_of(const at::Tensor& patch_TC, const PatchGrid& grid);

/// Messages name the keys [model.NAME] of the model that say these: classes, height, image_width, channels and
/// learned_variance.
struct DocumentShape {
  int64_t classes = 0;                   // groups of the token file, one of which each document belongs to
  std::optional<PatchGrid> images = {};  // nothing: documents of text
  bool variances = false;                // of images: predicts those of a diffusion's steps, too
};

}  // namespace moetrain
