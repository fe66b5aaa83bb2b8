#include "launch/commands/generate_images.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include "data/datasets/token_corpus.h"
#include "data/images/png.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

constexpr int64_t kBorder = 1;  // pixels between images

/// By number, or by name where the run's token file is there to say the names.
int64_t class_named(const TrainedModel& trained, const std::string& wanted, int64_t classes) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
  if (error == std::errc{} && end == wanted.data() + wanted.size() && number >= 0 && number < classes) return number;
  std::vector<std::string> names;
  if (std::filesystem::exists(trained.recipe.data.file)) {
    names =
        data::TokenCorpus::open(trained.recipe.data.file, data::Verify::kIndexOnly, trained.recipe.registry->tokenizers)
            .groups();
  }
  const auto found = std::ranges::find(names, wanted);
  if (found != names.end()) return found - names.begin();
  parallel::user_error("--class ", wanted, ": there is no such class; legal: 0 to ", classes - 1,
                       names.empty() ? "" : ", or ", names.empty() ? "" : parallel::list_names(names));
}

/// Images [S, H, W, C] of some classes, `count` of each in a row, as one.
data::Image grid_of(const at::Tensor& image_SHWC, int64_t count) {
  const int64_t rows = image_SHWC.size(0) / count, height = image_SHWC.size(1), width = image_SHWC.size(2),
                channels = image_SHWC.size(3);
  const at::Tensor bytes = ((image_SHWC.to(at::kCPU, at::kFloat) + 1) * 127.5).round().clamp(0, 255).to(at::kByte);
  const at::Tensor bordered = at::constant_pad_nd(bytes, {0, 0, 0, kBorder, 0, kBorder}, 128);
  const at::Tensor grid = bordered.view({rows, count, height + kBorder, width + kBorder, channels})
                              .permute({0, 2, 1, 3, 4})
                              .reshape({rows * (height + kBorder), count * (width + kBorder), channels})
                              .contiguous();
  data::Image image{.shape = {grid.size(0), grid.size(1), channels}};
  image.pixels.assign(grid.const_data_ptr<uint8_t>(), grid.const_data_ptr<uint8_t>() + grid.numel());
  return image;
}

}  // namespace

void generate_images(const TrainedModel& trained, const ImageArguments& arguments) {
  if (trained.recipe.model_preset().reads != moetrain::Reads::kImages) {
    parallel::user_error("the run's model.kind is \"", trained.recipe.model.kind,
                         "\"; this needs one that reads images, such as \"diffusion_transformer\"");
  }
  moetrain::Model& model = *trained.model;
  const int64_t classes = model.documents().classes;
  at::Tensor class_R = at::arange(classes, at::kLong);
  if (!arguments.wanted.empty()) class_R = at::tensor({class_named(trained, arguments.wanted, classes)}, at::kLong);
  const at::Tensor image_SHWC = trained.recipe.objective_preset().sample(
      model, trained.recipe.objective, class_R.repeat_interleave(arguments.count), arguments.sampling);
  data::write_png(arguments.output, grid_of(image_SHWC, arguments.count));
  std::printf("wrote %s\n", arguments.output.c_str());
}

}  // namespace launch
