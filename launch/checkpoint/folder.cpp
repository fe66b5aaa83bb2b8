#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "launch/checkpoint/checkpoint.h"

namespace launch {
namespace {

constexpr std::string_view kPrefix = "update_";
constexpr std::string_view kSuffix = ".h5";
constexpr size_t kDigits = 12;

std::filesystem::path folder_of(const std::filesystem::path& run_folder) { return run_folder / "checkpoints"; }

/// The update of a checkpoint's file name, or -1: another file that somebody put there is left alone.
int64_t update_of(const std::string& name) {
  if (name.size() != kPrefix.size() + kDigits + kSuffix.size()) return -1;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return -1;
  const std::string digits = name.substr(kPrefix.size(), kDigits);
  if (digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

}  // namespace

std::vector<int64_t> checkpoint_updates(const std::filesystem::path& run_folder) {
  std::vector<int64_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), error)) {
    const int64_t update = update_of(entry.path().filename());
    if (update >= 0) found.push_back(update);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::filesystem::path checkpoint_path(const std::filesystem::path& run_folder, int64_t update) {
  char name[40];
  std::snprintf(name, sizeof(name), "update_%012lld.h5", static_cast<long long>(update));
  return folder_of(run_folder) / name;
}

int64_t newest_update(const std::filesystem::path& run_folder, parallel::Communicator& group) {
  int64_t newest = -1;
  if (group.rank() == 0) {
    const auto found = checkpoint_updates(run_folder);
    if (!found.empty()) newest = found.back();
  }
  at::Tensor agreed = at::full({1}, newest, at::kLong);
  group.all_reduce(agreed, parallel::ReduceOp::kMax).wait();
  return agreed.item<int64_t>();
}

void prune_checkpoints(const std::filesystem::path& run_folder, int64_t keep) {
  const auto found = checkpoint_updates(run_folder);
  std::error_code ignored;
  for (size_t i = 0; i + static_cast<size_t>(keep) < found.size(); ++i) {
    std::filesystem::remove(checkpoint_path(run_folder, found[i]), ignored);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), ignored)) {
    if (entry.path().extension() == ".writing") std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace launch
