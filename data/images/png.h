// defines: read_png, write_png
#pragma once
#include <filesystem>

#include "data/images/image.h"

namespace data {

/// Grey where the file is grey, else red, green and blue; 8 bits each, transparency on black. UserError for a file that
/// cannot be read, is no PNG, is damaged, or has a side of more than kMostSide pixels (found out before its pixels are
/// given memory).
Image read_png(const std::filesystem::path& path);

/// UserError where the file cannot be written.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace data
