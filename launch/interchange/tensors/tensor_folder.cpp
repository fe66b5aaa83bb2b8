#include "launch/interchange/tensors/tensor_folder.h"

#include <algorithm>

#include "launch/interchange/tensors/json_object.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace launch::interchange {
namespace {

constexpr uint64_t kLargestIndex = 64 << 20;  // [bytes]

/// Tensor -> file, as the index says.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const LargeJson index = parse_large_object(read_small_file(path, kLargestIndex), path.string());
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) parallel::user_error(path.string(), ": has no object weight_map");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    const bool plain =
        std::ranges::none_of(name, [](char c) { return c == '/' || static_cast<unsigned char>(c) < ' '; });
    if (!plain || !name.ends_with(".safetensors")) {
      parallel::user_error(path.string(), ": '", tensor, "' would lie in ",
                           file.dump(-1, ' ', true, LargeJson::error_handler_t::replace),
                           "; legal: a safetensors file of this folder");
    }
    files[tensor] = name;
  }
  if (files.empty()) parallel::user_error(path.string(), ": its weight_map names no tensor");
  return files;
}

}  // namespace

TensorFolder::TensorFolder(const std::filesystem::path& folder) : folder_(folder) {
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (!std::filesystem::exists(index, ignored)) {
    const std::filesystem::path single = folder / "model.safetensors";
    if (!std::filesystem::exists(single, ignored)) {
      parallel::user_error(folder.string(),
                           ": holds neither model.safetensors nor model.safetensors.index.json; wanted ",
                           "a Hugging Face folder with safetensors files");
    }
    auto file = std::make_unique<SafetensorsFile>(single);
    for (const auto& [name, place] : file->tensors()) file_of_[name] = file.get();
    files_["model.safetensors"] = std::move(file);
    return;
  }
  const std::map<std::string, std::string> named = read_index(index);
  for (const auto& [tensor, name] : named) {
    if (!std::filesystem::exists(folder / name, ignored)) {
      parallel::user_error(index.string(), ": names the file ", name, ", which is not there");
    }
    std::unique_ptr<SafetensorsFile>& file = files_[name];
    if (file == nullptr) file = std::make_unique<SafetensorsFile>(folder / name);
    if (!file->tensors().contains(tensor)) {
      parallel::user_error(index.string(), ": '", parallel::printable(tensor), "' would lie in ", name,
                           ", which does not hold it");
    }
    file_of_[tensor] = file.get();
  }
  for (const auto& [name, file] : files_) {
    for (const auto& [tensor, place] : file->tensors()) {
      const auto found = named.find(tensor);
      if (found != named.end() && found->second == name) continue;
      parallel::user_error((folder / name).string(), ": holds '", parallel::printable(tensor), "', which the index ",
                           found == named.end() ? "does not name" : "has in " + found->second);
    }
  }
}

std::vector<std::string> TensorFolder::names() const {
  std::vector<std::string> all;
  for (const auto& [name, file] : file_of_) all.push_back(name);
  return all;
}

TensorView TensorFolder::view(const std::string& name) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) parallel::user_error(folder_.string(), ": holds no tensor '", name, "'");
  return found->second->view(name);
}

}  // namespace launch::interchange
