#include <ATen/ATen.h>
#include <hdf5.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>

#include "data/hdf5/handle.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/checkpoint/checksum.h"
#include "launch/checkpoint/hdf5_layout.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

/// What is wrong with a file; whoever knows what else there is turns it into a DamagedCheckpoint.
struct Damage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void damaged(const Parts&... parts) {
  throw Damage(parallel::concat(parts...));
}

constexpr int64_t kLongestText = int64_t{1} << 24;  // a recipe, a build id: far below this

struct File {
  explicit File(const std::filesystem::path& file_path) : path(file_path.string()), id(open(file_path), H5Fclose) {
    if (id.ok()) return;
    if (!std::filesystem::exists(file_path)) user_error(path, ": there is no such file");
    damaged(path, ": not a readable HDF5 file, or a truncated one: ", data::hdf5_reason());
  }
  static hid_t open(const std::filesystem::path& file_path) {
    const data::Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    // Readers take no lock: cluster file systems often have none, and a finished file never changes.
    H5Pset_file_locking(access.id(), false, true);
    return H5Fopen(file_path.c_str(), H5F_ACC_RDONLY, access.id());
  }

  data::QuietHdf5 quiet;  // before the file is opened, until after it is closed
  std::string path;
  data::Hdf5Handle id;
};

bool is_single(hid_t attribute) {
  const data::Hdf5Handle space(H5Aget_space(attribute), H5Sclose);
  return space.ok() && H5Sget_simple_extent_npoints(space.id()) == 1;
}

data::Hdf5Handle open_attribute(const File& from, const char* name) {
  data::Hdf5Handle attribute(H5Aopen(from.id.id(), name, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok()) damaged(from.path, ": not a moetrain checkpoint (no attribute '", name, "')");
  if (!is_single(attribute.id())) damaged(from.path, ": attribute '", name, "' is not a single value");
  return attribute;
}

/// A number of at least `least`.
int64_t read_number(const File& from, const char* name, int64_t least) {
  const data::Hdf5Handle attribute = open_attribute(from, name);
  int64_t value = 0;
  if (H5Aread(attribute.id(), H5T_NATIVE_INT64, &value) < 0 || value < least) {
    damaged(from.path, ": attribute '", name, "' is ", value, "; legal: at least ", least);
  }
  return value;
}

/// None where the run had not evaluated.
BestScore read_best(const File& from) {
  if (H5Aexists(from.id.id(), "best_update") <= 0) return {};
  BestScore best{.update = read_number(from, "best_update", 0),
                 .since = read_number(from, "evaluations_since_best", 0)};
  const data::Hdf5Handle attribute = open_attribute(from, "best_loss");
  if (H5Aread(attribute.id(), H5T_NATIVE_DOUBLE, &best.loss) < 0 || !std::isfinite(best.loss)) {
    damaged(from.path, ": attribute 'best_loss' is no finite number");
  }
  return best;
}

std::string read_text(const File& from, const char* name) {
  const data::Hdf5Handle attribute = open_attribute(from, name);
  const data::Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const auto size = static_cast<int64_t>(H5Tget_size(type.id()));
  if (H5Tget_class(type.id()) != H5T_STRING || H5Tis_variable_str(type.id()) != 0 || size > kLongestText) {
    damaged(from.path, ": attribute '", name, "' is not a short text");
  }
  std::string text(static_cast<size_t>(size), '\0');
  if (H5Aread(attribute.id(), type.id(), text.data()) < 0) damaged(from.path, ": attribute '", name, "' is unreadable");
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

std::string read_long_text(const File& from, const std::string& name) {
  const data::Hdf5Handle dataset(H5Dopen2(from.id.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) damaged(from.path, ": not a moetrain checkpoint (no dataset '", name, "')");
  const data::Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
  const auto size = static_cast<int64_t>(H5Sget_simple_extent_npoints(space.id()));
  if (size < 0 || size > kLongestText) damaged(from.path, ": dataset '", name, "' has ", size, " bytes");
  std::string text(static_cast<size_t>(size), '\0');
  if (H5Dread(dataset.id(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    damaged(from.path, ": dataset '", name, "' is unreadable");
  }
  return text;
}

/// Empty where an older file has none.
std::string read_plan_text(const File& from) {
  return H5Lexists(from.id.id(), "plan", H5P_DEFAULT) > 0 ? read_long_text(from, "plan") : "";
}

std::string shape_text(const std::vector<hsize_t>& shape) {
  std::string text;
  for (const hsize_t dim : shape) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "[" + text + "]";
}

std::vector<hsize_t> shape_of(hid_t dataset) {
  const data::Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
  std::vector<hsize_t> shape(static_cast<size_t>(std::max(0, H5Sget_simple_extent_ndims(space.id()))));
  H5Sget_simple_extent_dims(space.id(), shape.data(), nullptr);
  return shape;
}

/// Opens a dataset that must have the tensor's shape.
data::Hdf5Handle open_dataset(const File& from, const CheckpointTensor& tensor) {
  data::Hdf5Handle dataset(H5Dopen2(from.id.id(), tensor.path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok() && H5Lexists(from.id.id(), tensor.path.c_str(), H5P_DEFAULT) > 0) {
    damaged(from.path, ": '", tensor.path, "' cannot be opened: the file is damaged");
  }
  if (!dataset.ok()) user_error(from.path, ": holds no '", tensor.path, "': a checkpoint of another model");
  const std::vector<hsize_t> found = shape_of(dataset.id());
  const std::vector<int64_t> shape = tensor.place().global_shape;
  const std::vector<hsize_t> wanted(shape.begin(), shape.end());
  if (found != wanted) {
    user_error(from.path, ": '", tensor.path, "' has shape ", shape_text(found), ", this model's is ",
               shape_text(wanted), ": a checkpoint of another model");
  }
  return dataset;
}

/// The names of a group's datasets, however deep.
std::set<std::string> names_below(const File& from, const std::string& group_name) {
  const data::Hdf5Handle group(H5Gopen2(from.id.id(), group_name.c_str(), H5P_DEFAULT), H5Gclose);
  if (!group.ok()) damaged(from.path, ": not a moetrain checkpoint (no group '", group_name, "')");
  std::set<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5O_info_t* info, void* out) -> herr_t {
    if (info->type == H5O_TYPE_DATASET) static_cast<std::set<std::string>*>(out)->insert(name);
    return 0;
  };
  H5Ovisit2(group.id(), H5_INDEX_NAME, H5_ITER_NATIVE, visit, &names, H5O_INFO_BASIC);
  std::set<std::string> whole;
  for (const std::string& name : names) whole.insert(group_name + "/" + name);
  return whole;
}

/// Every parameter of the file must be wanted, where parameters are read at all.
void check_no_spare(const File& from, const std::vector<CheckpointTensor>& tensors) {
  const auto is_parameter = [](const CheckpointTensor& tensor) { return tensor.path.starts_with("parameters/"); };
  if (std::ranges::none_of(tensors, is_parameter)) return;
  std::set<std::string> names = names_below(from, "parameters");
  for (const CheckpointTensor& tensor : tensors) names.erase(tensor.path);
  if (!names.empty()) {
    user_error(from.path, ": holds '", *names.begin(), "' (and ", names.size() - 1,
               " more), which this model lacks: a checkpoint of another model");
  }
}

/// The elements of `all` that lie in a placement, in its local shape.
at::Tensor part_of(const at::Tensor& all, const parallel::Placement& placement) {
  if (placement.whole()) return all.view(placement.local_shape);
  std::vector<at::Tensor> runs;
  for (const parallel::ElementRange& run : placement.runs)
    runs.push_back(all.flatten().narrow(0, run.begin, run.count));
  return runs.empty() ? at::empty(placement.local_shape, all.options()) : at::cat(runs).view(placement.local_shape);
}

/// Reads in the file's own precision, checks, then rounds into the tensor. One whole dataset at a time is in memory.
void fill(const File& from, const CheckpointTensor& tensor) {
  const data::Hdf5Handle dataset = open_dataset(from, tensor);
  const data::Hdf5Handle type(H5Dget_type(dataset.id()), H5Tclose);
  const std::optional<at::ScalarType> element = element_type_of(type.id());
  if (!element) damaged(from.path, ": '", tensor.path, "' is of none of float64, float32, float16, bfloat16");
  const parallel::Placement placement = tensor.place();
  at::Tensor read = at::empty(placement.global_shape, *element);
  uint64_t wanted = 0;
  const data::Hdf5Handle attribute(H5Aopen(dataset.id(), "checksum", H5P_DEFAULT), H5Aclose);
  const bool readable = attribute.ok() && is_single(attribute.id()) &&
                        H5Aread(attribute.id(), H5T_NATIVE_UINT64, &wanted) >= 0 &&
                        H5Dread(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, read.mutable_data_ptr()) >= 0;
  if (!readable) damaged(from.path, ": '", tensor.path, "' is unreadable: the file is truncated or damaged");
  if (partial_checksum(read.const_data_ptr(), read.element_size(), read.numel(), 0) != wanted) {
    damaged(from.path, ": the checksum of '", tensor.path, "' is wrong: the file is damaged");
  }
  at::Tensor target = tensor.tensor.detach();
  target.copy_(part_of(read, placement));
  if (!all_finite(target)) {  // as the file has it, or too large for the model's precision
    damaged(from.path, ": '", tensor.path, "' holds numbers that are not finite: its run had diverged");
  }
}

StoredTensor stored_tensor(const File& from, const std::string& name, int64_t file_bytes) {
  const data::Hdf5Handle dataset(H5Dopen2(from.id.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) damaged(from.path, ": '", name, "' cannot be opened");
  const data::Hdf5Handle type(H5Dget_type(dataset.id()), H5Tclose);
  const std::optional<at::ScalarType> element = element_type_of(type.id());
  if (!element) damaged(from.path, ": '", name, "' is of none of float64, float32, float16, bfloat16");
  StoredTensor stored{.path = name, .shape = {}, .type = *element};
  int64_t bytes = static_cast<int64_t>(c10::elementSize(*element));
  for (const hsize_t dim : shape_of(dataset.id())) {
    if (dim > static_cast<hsize_t>(file_bytes) || (dim > 0 && bytes > file_bytes / static_cast<int64_t>(dim))) {
      damaged(from.path, ": '", name, "' claims more than the file holds");
    }
    bytes *= static_cast<int64_t>(dim);
    stored.shape.push_back(static_cast<int64_t>(dim));
  }
  const haddr_t address = H5Dget_offset(dataset.id());
  if (bytes > 0 && (address == HADDR_UNDEF || address > static_cast<haddr_t>(file_bytes - bytes))) {
    damaged(from.path, ": '", name, "' does not lie in the file");
  }
  stored.address = bytes > 0 ? static_cast<int64_t>(address) : 0;
  const data::Hdf5Handle attribute(H5Aopen(dataset.id(), "checksum", H5P_DEFAULT), H5Aclose);
  if (!attribute.ok() || !is_single(attribute.id()) ||
      H5Aread(attribute.id(), H5T_NATIVE_UINT64, &stored.checksum) < 0) {
    damaged(from.path, ": '", name, "' has no checksum");
  }
  return stored;
}

CheckpointInfo read_info(const std::filesystem::path& path) {
  const File from(path);
  if (const int64_t format = read_number(from, "format", 0); format != kCheckpointFormat) {
    user_error(from.path, ": checkpoint format ", format, ", this program reads format ", kCheckpointFormat);
  }
  return {.update = read_number(from, "update", 0),
          .sequences = read_number(from, "sequences", -1),
          .tokens = read_number(from, "tokens", 0),
          .vocabulary = read_number(from, "vocabulary", 1),
          .tokenizer_hash = read_text(from, "tokenizer_hash"),
          .corpus = read_text(from, "corpus"),
          .recipe = read_long_text(from, "recipe"),
          .plan = read_plan_text(from),
          .build = read_text(from, "build"),
          .best = read_best(from),
          .stages = H5Lexists(from.id.id(), "stages", H5P_DEFAULT) > 0 ? read_long_text(from, "stages") : ""};
}

/// The checkpoint before this one in its folder that opens, or -1. Its tensors are not read.
int64_t older_update(const std::filesystem::path& path) {
  const std::filesystem::path run_folder = path.parent_path().parent_path();
  std::vector<int64_t> there = checkpoint_updates(run_folder);
  std::erase_if(there, [&](int64_t update) { return update >= update_of(path); });
  for (; !there.empty(); there.pop_back()) {
    try {
      read_info(checkpoint_path(run_folder, there.back()));
      return there.back();
    } catch (const std::runtime_error&) {
    }
  }
  return -1;
}

std::string way_out(const std::filesystem::path& path) {
  if (update_of(path) < 0) return {};
  const int64_t older = older_update(path);
  const std::string remove = parallel::concat("; legal: `mv ", path.string(), " ", aside_of(path).string(), "`");
  if (older < 0) return remove + ", after which the run folder holds no checkpoint and `train --resume` begins anew";
  return parallel::concat(remove, ", after which update ", older, " is the newest; `train --resume` does so by itself");
}

void read(const std::filesystem::path& path, const std::function<void()>& action) {
  try {
    action();
  } catch (const Damage& damage) {
    throw DamagedCheckpoint(damage.what(), way_out(path));
  }
}

}  // namespace

bool all_finite(const at::Tensor& tensor) { return at::isfinite(tensor).all().item<bool>(); }

CheckpointInfo read_checkpoint_info(const std::filesystem::path& path) {
  CheckpointInfo info;
  read(path, [&] {
    info = read_info(path);
    const int64_t named = update_of(path);
    if (named >= 0 && named != info.update) {
      damaged(path.string(), ": by its name of update ", named, ", by its attribute of update ", info.update);
    }
  });
  return info;
}

int64_t StoredTensor::elements() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

std::string dtype_name(at::ScalarType type) {
  return type == at::kDouble ? "F64" : type == at::kFloat ? "F32" : type == at::kHalf ? "F16" : "BF16";
}

at::ScalarType scalar_type_of(const std::string& dtype) {
  return dtype == "F64" ? at::kDouble : dtype == "F32" ? at::kFloat : dtype == "F16" ? at::kHalf : at::kBFloat16;
}

std::vector<StoredTensor> stored_tensors(const std::filesystem::path& path, const std::string& group) {
  std::vector<StoredTensor> all;
  read(path, [&] {
    const File from(path);
    const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
    if (H5Lexists(from.id.id(), group.substr(0, group.find('/')).c_str(), H5P_DEFAULT) <= 0) return;
    if (H5Lexists(from.id.id(), group.c_str(), H5P_DEFAULT) <= 0) return;
    for (const std::string& name : names_below(from, group)) all.push_back(stored_tensor(from, name, file_bytes));
  });
  return all;
}

void read_checkpoint(const std::filesystem::path& path, const std::vector<CheckpointTensor>& tensors) {
  read(path, [&] {
    const File from(path);
    check_no_spare(from, tensors);
    for (const CheckpointTensor& tensor : tensors) open_dataset(from, tensor);
    for (const CheckpointTensor& tensor : tensors) fill(from, tensor);
  });
}

}  // namespace launch
