#include "data/images/image.h"

#include <cstdio>

#include "parallel/base/fault.h"

namespace data {

std::string ImageShape::text() const { return parallel::concat(height, 'x', width, 'x', channels); }

ImageShape ImageShape::parse(const std::string& text) {
  long long height = 0, width = 0, channels = 0;
  int read = 0;
  const bool whole = std::sscanf(text.c_str(), "%5lldx%5lldx%1lld%n", &height, &width, &channels, &read) == 3 &&
                     static_cast<size_t>(read) == text.size();
  const bool legal = whole && height >= 1 && height <= kMostSide && width >= 1 && width <= kMostSide &&
                     (channels == 1 || channels == 3);
  if (!legal) {
    parallel::user_error("'", text, "' is no shape of an image; legal: HEIGHTxWIDTHxCHANNELS, sides of 1 to ",
                         kMostSide, " and 1 or 3 channels");
  }
  return {height, width, channels};
}

}  // namespace data
