// defines: ImageFolder, read_image_folder
#pragma once
#include <filesystem>
#include <vector>

#include "data/images/image.h"
#include "data/sources/document.h"

namespace data {

/// Images of one shape as documents: the text of one is its pixels' bytes, row by row.
struct ImageFolder {
  ImageShape shape;
  std::vector<SourceDocument> documents;
};

/// FOLDER/CLASS/*.png, the class being the group; sorted by path. UserError for a folder without an image, an image of
/// another shape than the first (both are named), and one that cannot be read.
ImageFolder read_image_folder(const std::filesystem::path& folder);

}  // namespace data
