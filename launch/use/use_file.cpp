// The recorded use of experts as an HDF5 file: /use/sizes says what each layer has, of which every dataset's length
// follows.
#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/hdf5/file.h"
#include "launch/use/expert_use.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using data::Hdf5File;
namespace fs = std::filesystem;

constexpr const char* kFormat = "moetrain use of experts";
constexpr const char* kVersion = "1";
constexpr int64_t kMostLayers = 1 << 16, kMostGroups = 1 << 20, kMostNames = 1 << 28, kMostSize = 1 << 24;

/// A row of /use/sizes.
struct Sizes {
  static constexpr int64_t kColumns = 7;
  int64_t block = 0, part = 0, experts = 0, routed = 0, choices = 0, width = 0, hidden = 0;
};

Sizes sizes_of(const LayerUse& layer) {
  return {layer.block,
          static_cast<int64_t>(layer.part),
          layer.experts(),
          layer.routed(),
          layer.computing_GN.size(1) - 1,
          layer.input_square_GRD.size(2),
          layer.hidden_square_GRF.size(2)};
}

/// visit(name, meaning, tensor, shape, whether whole numbers) for each dataset of a layer.
template <class Layer, class Visit>
void for_each_dataset(Layer& layer, const Sizes& of, int64_t groups, const Visit& visit) {
  const int64_t G = groups, E = of.experts, R = of.routed, D = of.width, F = of.hidden;
  visit("seen", "groups", layer.seen_G, std::vector<int64_t>{G}, true);
  visit("chosen", "groups, experts", layer.chosen_GE, std::vector<int64_t>{G, E}, true);
  visit("gates", "groups, experts", layer.gates_GE, std::vector<int64_t>{G, E}, false);
  visit("together", "groups, experts, experts", layer.together_GEE, std::vector<int64_t>{G, E, E}, true);
  visit("computing", "groups, choices + 1", layer.computing_GN, std::vector<int64_t>{G, of.choices + 1}, true);
  visit("rows", "groups, routed", layer.rows_GR, std::vector<int64_t>{G, R}, true);
  visit("input_square", "groups, routed, width", layer.input_square_GRD, std::vector<int64_t>{G, R, D}, false);
  visit("hidden_square", "groups, routed, hidden", layer.hidden_square_GRF, std::vector<int64_t>{G, R, F}, false);
  visit("hidden_absolute", "groups, routed, hidden", layer.hidden_absolute_GRF, std::vector<int64_t>{G, R, F}, false);
}

std::string sizes_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

template <class T>
std::vector<T> values_of(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.contiguous();
  return {whole.const_data_ptr<T>(), whole.const_data_ptr<T>() + whole.numel()};
}

void write_layer(Hdf5File& file, const LayerUse& layer, int64_t groups) {
  const std::string folder = "/use/" + layer_key(layer);
  file.create_group(folder);
  file.write(folder + "/units", layer.units);
  for_each_dataset(
      layer, sizes_of(layer), groups,
      [&](const char* name, const char* axes, const at::Tensor& tensor, const std::vector<int64_t>& shape, bool whole) {
        parallel::check_internal(tensor.sizes() == at::IntArrayRef(shape), "use of experts: ", folder, " ", name,
                                 " is ", tensor.sizes());
        const std::string path = folder + "/" + name;
        if (whole) {
          file.write(path, values_of<int64_t>(tensor));
        } else {
          file.write(path, values_of<double>(tensor));
        }
        file.write_attribute(path, "axes", axes);
        file.write_attribute(path, "shape", sizes_text(shape));
      });
}

template <class... Parts>
[[noreturn]] void bad(const Hdf5File& file, const Parts&... parts) {
  parallel::user_error(file.path().string(), ": ", parts...);
}

int64_t product(const Hdf5File& file, const std::string& path, const std::vector<int64_t>& shape) {
  int64_t all = 1;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(all, size, &all)) bad(file, "'", path, "' would have more elements than any file");
  }
  return all;
}

template <class T>
at::Tensor read_tensor(const Hdf5File& file, const std::string& path, const std::vector<int64_t>& shape) {
  const int64_t count = product(file, path, shape);
  const std::vector<T> values = file.read<T>(path, count);
  if (std::ssize(values) != count) {
    bad(file, "'", path, "' has ", values.size(), " elements, where /use/sizes says ", sizes_text(shape));
  }
  for (const T value : values) {
    // No sum of gates is checked for its sign: scores may be below 0.
    if (!std::isfinite(static_cast<double>(value))) bad(file, "'", path, "' holds ", value);
    if (value < 0 && !path.ends_with("/gates")) bad(file, "'", path, "' holds ", value, "; legal: 0 and more");
  }
  return at::tensor(values, std::is_same_v<T, int64_t> ? at::kLong : at::kDouble).view(shape);
}

LayerUse read_layer(const Hdf5File& file, const Sizes& sizes, int64_t groups) {
  LayerUse layer{.block = sizes.block, .part = static_cast<LayerPart>(sizes.part)};
  const std::string folder = "/use/" + layer_key(layer);
  layer.units = file.read<int64_t>(folder + "/units", sizes.routed);
  bool fits = std::ssize(layer.units) == sizes.routed;
  for (const int64_t units : layer.units) fits = fits && units >= 0 && units <= sizes.hidden;
  if (!fits) bad(file, "'", folder, "/units' are not those of ", sizes.routed, " experts of at most ", sizes.hidden);
  for_each_dataset(
      layer, sizes, groups,
      [&](const char* name, const char*, at::Tensor& tensor, const std::vector<int64_t>& shape, bool whole) {
        const std::string path = folder + "/" + name;
        tensor = whole ? read_tensor<int64_t>(file, path, shape) : read_tensor<double>(file, path, shape);
      });
  if (!layer.together_GEE.diagonal(0, 1, 2).equal(layer.chosen_GE)) {
    bad(file, "'", folder, "/together' has another diagonal than what was chosen");
  }
  return layer;
}

std::vector<Sizes> read_sizes(const Hdf5File& file) {
  const std::vector<int64_t> table = file.read<int64_t>("/use/sizes", kMostLayers * Sizes::kColumns);
  if (table.size() % Sizes::kColumns != 0) bad(file, "'/use/sizes' has ", table.size(), " numbers, not 7 a layer");
  std::vector<Sizes> layers;
  for (size_t i = 0; i < table.size(); i += Sizes::kColumns) {
    const Sizes of{table[i], table[i + 1], table[i + 2], table[i + 3], table[i + 4], table[i + 5], table[i + 6]};
    const auto within = [](int64_t value, int64_t low) { return value >= low && value <= kMostSize; };
    const bool fits = within(of.block, 0) && of.part >= 0 && of.part <= static_cast<int64_t>(LayerPart::kModules) &&
                      within(of.experts, 1) && within(of.routed, 1) && of.routed <= of.experts &&
                      within(of.choices, 1) && within(of.width, 0) && within(of.hidden, 0);
    const bool ordered = layers.empty() || layers.back().block < of.block ||
                         (layers.back().block == of.block && layers.back().part < of.part);
    if (!fits || !ordered) bad(file, "row ", layers.size(), " of '/use/sizes' is of no layer, or out of order");
    layers.push_back(of);
  }
  return layers;
}

/// Several names may lead to one dataset (HDF5's hard links), so that a small file might say more than memory holds.
void check_total(const Hdf5File& file, const std::vector<Sizes>& layers, int64_t groups) {
  const auto there = static_cast<int64_t>(fs::file_size(file.path())) / static_cast<int64_t>(sizeof(double));
  int64_t numbers = 0;
  for (const Sizes& sizes : layers) {
    LayerUse none;
    for_each_dataset(
        none, sizes, groups, [&](const char* name, const char*, at::Tensor&, const std::vector<int64_t>& shape, bool) {
          numbers += std::min(product(file, name, shape), there + 1);
          if (numbers <= there) return;
          bad(file, "'/use/sizes' says more numbers than the file holds, which has ", there * sizeof(double),
              " bytes; legal: a file that `moetrain evaluate RUN --record FILE` wrote");
        });
  }
}

/// Names, each followed by a zero byte.
std::vector<std::string> read_names(const Hdf5File& file) {
  const std::string all = file.read_blob("/use/groups", kMostNames);
  std::vector<std::string> names;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = all.find('\0', begin);
    if (end == std::string::npos) bad(file, "'/use/groups' does not end in a zero byte");
    if (std::ssize(names) == kMostGroups) bad(file, "'/use/groups' names more than ", kMostGroups, " groups");
    names.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  if (names.empty()) bad(file, "'/use/groups' names no group");
  return names;
}

}  // namespace

void write_use(const fs::path& path, const ExpertUse& use) {
  const fs::path temporary = path.string() + ".part";
  std::error_code ignored;
  fs::remove(temporary, ignored);
  try {
    Hdf5File file = Hdf5File::create(temporary);
    file.write_attribute("/", "format", kFormat);
    file.write_attribute("/", "version", kVersion);
    file.create_group("/use");
    file.write_attribute("/use", "run", use.run);
    file.write_attribute("/use", "update", std::to_string(use.update));
    file.write_attribute("/use", "fingerprint", use.fingerprint);
    file.write_attribute("/use", "recipe_hash", use.recipe_hash);
    std::string names;
    for (const std::string& name : use.groups) names += name + '\0';
    file.write_blob("/use/groups", names);
    std::vector<int64_t> table;
    for (const LayerUse& layer : use.layers) {
      const Sizes of = sizes_of(layer);
      table.insert(table.end(), {of.block, of.part, of.experts, of.routed, of.choices, of.width, of.hidden});
    }
    file.write("/use/sizes", table);
    file.write_attribute("/use/sizes", "axes", "layers; block, part, experts, routed, choices, width, hidden");
    for (const LayerUse& layer : use.layers) write_layer(file, layer, std::ssize(use.groups));
    file.close();
  } catch (const parallel::UserError&) {
    fs::remove(temporary, ignored);
    throw;
  }
  std::error_code error;
  fs::rename(temporary, path, error);
  if (!error) return;
  fs::remove(temporary, ignored);
  parallel::user_error(path.string(), ": cannot be written: ", error.message());
}

bool is_use_file(const fs::path& path) { return Hdf5File::open(path).has("/use"); }

ExpertUse read_use(const fs::path& path) {
  const Hdf5File file = Hdf5File::open(path);
  if (!file.has("/use")) {
    bad(file, "is no recorded use of experts; legal: a file that `moetrain evaluate RUN --record FILE` wrote");
  }
  const std::string format = file.attribute("/", "format"), version = file.attribute("/", "version");
  if (format != kFormat || version != kVersion) {
    bad(file, "is '", format, "' version '", version, "'; this program reads '", kFormat, "' version '", kVersion, "'");
  }
  ExpertUse use{.run = file.attribute("/use", "run"),
                .fingerprint = file.attribute("/use", "fingerprint"),
                .recipe_hash = file.attribute("/use", "recipe_hash"),
                .groups = read_names(file)};
  const std::string update = file.attribute("/use", "update");
  const auto [end, error] = std::from_chars(update.data(), update.data() + update.size(), use.update);
  if (error != std::errc() || end != update.data() + update.size()) bad(file, "update '", update, "' is no number");
  const std::vector<Sizes> layers = read_sizes(file);
  check_total(file, layers, std::ssize(use.groups));
  for (const Sizes& sizes : layers) use.layers.push_back(read_layer(file, sizes, std::ssize(use.groups)));
  return use;
}

}  // namespace launch
