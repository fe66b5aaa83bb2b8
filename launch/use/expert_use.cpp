#include "launch/use/expert_use.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"

namespace launch {

using parallel::user_error;

std::string to_string(LayerPart part) {
  constexpr const char* kNames[] = {"experts", "dense", "shared", "modules"};
  return kNames[static_cast<int>(part)];
}

std::string layer_key(const LayerUse& layer) {
  return "block_" + std::to_string(layer.block) + "_" + to_string(layer.part);
}

void check_use_of(const ExpertUse& use, const std::filesystem::path& path, const StoredWeights& weights,
                  const std::string& place) {
  const std::string fingerprint = weights.fingerprint();
  if (fingerprint.empty()) {
    user_error(place, " has no checksums (a Hugging Face folder), so that nobody can tell whether ", path.string(),
               " is the use of it; legal: `moetrain transform` of a run ", "folder, or another way to choose");
  }
  if (fingerprint == use.fingerprint) return;
  user_error(path.string(), " is the use of another model: recorded of ", use.run, " after update ", use.update,
             ", weights ", use.fingerprint, ", and ", place, " has weights ", fingerprint, "; legal: what `moetrain ",
             "evaluate ", place, " --record` writes");
}

const LayerUse& layer_use(const ExpertUse& use, const std::filesystem::path& path, int64_t block, LayerPart part,
                          int64_t routed) {
  const auto found = std::ranges::find_if(
      use.layers, [&](const LayerUse& layer) { return layer.block == block && layer.part == part; });
  if (found == use.layers.end()) {
    const bool feed_forward = part == LayerPart::kDense || part == LayerPart::kShared;
    user_error(path.string(), ": holds no use of the ", to_string(part), feed_forward ? " feed-forward" : "",
               " of block ", block, "; it is the use of another model");
  }
  if (found->routed() != routed) {
    user_error(path.string(), ": is the use of ", found->routed(), " experts of block ", block, ", which has ", routed,
               "; it is the use of another model");
  }
  return *found;
}

std::vector<int64_t> chosen_groups(const ExpertUse& use, const std::string& names) {
  std::vector<int64_t> chosen;
  for (size_t g = 0; names.empty() && g < use.groups.size(); ++g) chosen.push_back(static_cast<int64_t>(g));
  if (names.empty()) return chosen;
  for (const std::string_view each : parallel::split(names, ',')) {
    const std::string name(parallel::trimmed(each, " "));
    const auto found = std::ranges::find(use.groups, name);
    if (found == use.groups.end()) {
      user_error("groups = \"", names, "\": there is no '", name,
                 "' in the recorded use; known: ", parallel::list_names(use.groups));
    }
    const auto index = static_cast<int64_t>(found - use.groups.begin());
    if (std::ranges::count(chosen, index) > 0) user_error("groups = \"", names, "\": '", name, "' stands there twice");
    chosen.push_back(index);
  }
  return chosen;
}

at::Tensor over_groups(const at::Tensor& by_group, const std::vector<int64_t>& groups) {
  return by_group.index_select(0, at::tensor(groups, at::kLong)).sum(0).to(at::kDouble);
}

}  // namespace launch
