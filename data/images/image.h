// defines: ImageShape, Image
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace data {

/// H rows of W pixels of C bytes: 1 (grey) or 3 (red, green, blue).
struct ImageShape {
  int64_t height = 0, width = 0, channels = 0;

  int64_t bytes() const { return height * width * channels; }
  bool operator==(const ImageShape&) const = default;
  std::string text() const;                          // "12x12x1"
  static ImageShape parse(const std::string& text);  // its inverse; UserError for what is none, or too large
};

/// Sides of at most so many pixels.
constexpr int64_t kMostSide = 4096;

struct Image {
  ImageShape shape;
  std::vector<uint8_t> pixels;  // [H, W, C]
};

}  // namespace data
