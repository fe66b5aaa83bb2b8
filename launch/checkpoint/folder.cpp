#include <algorithm>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <string_view>

#include "launch/checkpoint/checkpoint.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/local_communicator.h"

namespace launch {
namespace {

constexpr std::string_view kPrefix = "update_";
constexpr std::string_view kSuffix = ".h5";
constexpr size_t kDigits = 12;

std::filesystem::path folder_of(const std::filesystem::path& run_folder) { return run_folder / "checkpoints"; }

}  // namespace

int64_t update_of(const std::filesystem::path& checkpoint) {
  const std::string name = checkpoint.filename();
  if (name.size() != kPrefix.size() + kDigits + kSuffix.size()) return -1;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return -1;
  const std::string digits = name.substr(kPrefix.size(), kDigits);
  if (digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

std::vector<int64_t> checkpoint_updates(const std::filesystem::path& run_folder) {
  std::vector<int64_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), error)) {
    const int64_t update = update_of(entry.path());
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

std::vector<int64_t> checkpoint_updates(const std::filesystem::path& run_folder, parallel::Communicator& group) {
  std::ostringstream own;
  if (group.rank() == 0) {
    for (const int64_t update : checkpoint_updates(run_folder)) own << update << ' ';
  }
  std::istringstream agreed(parallel::gather_texts(group, own.str()).front());
  return {std::istream_iterator<int64_t>(agreed), {}};
}

int64_t newest_update(const std::filesystem::path& run_folder, parallel::Communicator& group) {
  const std::vector<int64_t> found = checkpoint_updates(run_folder, group);
  return found.empty() ? -1 : found.back();
}

std::filesystem::path aside_of(const std::filesystem::path& checkpoint) { return checkpoint.string() + ".unusable"; }

std::filesystem::path set_aside(const std::filesystem::path& checkpoint) {
  const std::filesystem::path aside = aside_of(checkpoint);
  std::error_code error;
  std::filesystem::rename(checkpoint, aside, error);
  if (error) parallel::user_error("cannot rename ", checkpoint.string(), " to ", aside.string(), ": ", error.message());
  return aside;
}

void prune_checkpoints(const std::filesystem::path& run_folder, int64_t keep, int64_t besides) {
  const auto found = checkpoint_updates(run_folder);
  std::error_code ignored;
  for (size_t i = 0; i + static_cast<size_t>(keep) < found.size(); ++i) {
    if (found[i] != besides) std::filesystem::remove(checkpoint_path(run_folder, found[i]), ignored);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), ignored)) {
    if (entry.path().extension() == ".writing") std::filesystem::remove(entry.path(), ignored);
  }
}

int64_t chosen_update(const std::filesystem::path& run_folder, const std::string& choice,
                      parallel::Communicator& group) {
  const std::vector<int64_t> there = checkpoint_updates(run_folder, group);
  if (choice.empty() || there.empty()) return there.empty() ? -1 : there.back();
  int64_t chosen = -1;
  parallel::all_ranks(group, [&] {
    chosen = choice == "best" ? read_checkpoint_info(checkpoint_path(run_folder, there.back())).best.update
                              : std::stoll(choice);
    if (chosen < 0) {
      parallel::user_error(
          run_folder.string(), " has not evaluated while it trained, so it knows no best checkpoint; ",
          "legal: evaluate.every and checkpoint.keep_best = true in its recipe, or an update's number");
    }
    if (std::ranges::find(there, chosen) != there.end()) return;
    std::vector<std::string> updates;
    for (const int64_t each : there) updates.push_back(std::to_string(each));
    parallel::user_error(run_folder.string(), " holds no checkpoint of update ", chosen,
                         choice == "best" ? ", its best (checkpoint.keep_best was not set)" : "",
                         "; there are: ", parallel::list_names(updates));
  });
  return chosen;
}

std::filesystem::path chosen_checkpoint(const std::filesystem::path& run_folder, const std::string& choice) {
  parallel::LocalCommunicator alone;
  const int64_t update = chosen_update(run_folder, choice, alone);
  if (update < 0) parallel::user_error(run_folder.string(), " holds no checkpoint yet");
  return checkpoint_path(run_folder, update);
}

}  // namespace launch
