#include <algorithm>
#include <cstdio>
#include <string_view>

#include "launch/checkpoint/checkpoint.h"

namespace launch {
namespace {

constexpr std::string_view kPrefix = "update_";
constexpr std::string_view kSuffix = ".h5";

std::filesystem::path folder_of(const std::filesystem::path& run_folder) { return run_folder / "checkpoints"; }

/// Complete checkpoints, oldest first: names of equal length sort by update.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_folder) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::filesystem::path checkpoint_path(const std::filesystem::path& run_folder, int64_t update) {
  char name[40];
  std::snprintf(name, sizeof(name), "update_%012lld.h5", static_cast<long long>(update));
  return folder_of(run_folder) / name;
}

std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run_folder) {
  const auto found = list_checkpoints(run_folder);
  if (found.empty()) return std::nullopt;
  return found.back();
}

void prune_checkpoints(const std::filesystem::path& run_folder, int64_t keep) {
  const auto found = list_checkpoints(run_folder);
  std::error_code ignored;
  for (size_t i = 0; i + static_cast<size_t>(keep) < found.size(); ++i) std::filesystem::remove(found[i], ignored);
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), ignored)) {
    if (entry.path().extension() == ".writing") std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace launch
