#include "data/images/png.h"

#include <png.h>

#include <cstring>

#include "parallel/base/fault.h"

namespace data {
namespace {

/// Freed on every way out.
class PngImage {
 public:
  PngImage() {
    std::memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
  }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;
  ~PngImage() { png_image_free(&image); }

  png_image image;
};

}  // namespace

Image read_png(const std::filesystem::path& path) {
  PngImage png;
  if (png_image_begin_read_from_file(&png.image, path.c_str()) == 0) {
    parallel::user_error(path.string(), ": is no PNG image that can be read: ", png.image.message);
  }
  const int64_t height = png.image.height, width = png.image.width;
  if (height > kMostSide || width > kMostSide) {
    parallel::user_error(path.string(), ": is an image of ", height, " x ", width, " pixels; at most ", kMostSide,
                         " a side are read");
  }
  const bool grey = (png.image.format & PNG_FORMAT_FLAG_COLOR) == 0;
  png.image.format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  Image result{.shape = {height, width, grey ? 1 : 3}};
  result.pixels.resize(static_cast<size_t>(result.shape.bytes()));
  const png_color black{0, 0, 0};
  if (png_image_finish_read(&png.image, &black, result.pixels.data(), /*row_stride=*/0, nullptr) == 0) {
    parallel::user_error(path.string(), ": is a damaged PNG image: ", png.image.message);
  }
  return result;
}

void write_png(const std::filesystem::path& path, const Image& image) {
  PngImage png;
  png.image.height = static_cast<png_uint_32>(image.shape.height);
  png.image.width = static_cast<png_uint_32>(image.shape.width);
  png.image.format = image.shape.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  if (png_image_write_to_file(&png.image, path.c_str(), 0, image.pixels.data(), 0, nullptr) == 0) {
    parallel::user_error(path.string(), ": cannot be written: ", png.image.message);
  }
}

}  // namespace data
