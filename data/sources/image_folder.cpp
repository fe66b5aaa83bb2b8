#include "data/sources/image_folder.h"

#include <algorithm>

#include "data/images/png.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

namespace fs = std::filesystem;

/// What lies in a folder. UserError where it cannot be read.
std::vector<fs::directory_entry> images_and_folders_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> all;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    all.push_back(*entry);
  }
  if (error) parallel::user_error(folder.string(), ": cannot be read: ", error.message());
  return all;
}

std::vector<fs::path> images_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const fs::directory_entry& group : images_and_folders_of(folder)) {
    if (!group.is_directory()) continue;
    for (const fs::directory_entry& file : images_and_folders_of(group.path())) {
      if (file.is_regular_file() && file.path().extension() == ".png") found.push_back(file.path());
    }
  }
  if (found.empty()) {
    parallel::user_error(folder.string(),
                         ": holds no image; legal: a folder with a folder of .png files for each class");
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

ImageFolder read_image_folder(const fs::path& folder) {
  const std::vector<fs::path> paths = images_in(folder);
  ImageFolder all;
  for (const fs::path& path : paths) {
    const Image image = read_png(path);
    if (all.documents.empty()) all.shape = image.shape;
    if (image.shape != all.shape) {
      parallel::user_error(path.string(), ": is ", image.shape.text(), " (height, width, channels), and ",
                           paths.front().string(), " is ", all.shape.text(), "; all images of a file have one shape");
    }
    std::string pixels(image.pixels.begin(), image.pixels.end());
    const std::string identity = std::to_string(parallel::hash_name(pixels));
    all.documents.push_back({.name = fs::relative(path, folder).string(),
                             .identity = identity,
                             .key = identity,
                             .group = path.parent_path().filename().string(),
                             .text = std::move(pixels)});
  }
  return all;
}

}  // namespace data
