#include "launch/surgery/recorded_use.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

LayerPart part_of_experts(const ExpertBlock& block) {
  return block.slot == moetrain::Slot::kAttention ? LayerPart::kModules : LayerPart::kExperts;
}

/// Before the fingerprint, which says less.
void check_shapes(const ExpertUse& use, const std::string& path, const Recipe& recipe) {
  for (const ExpertBlock& block : expert_blocks_of(recipe)) {
    layer_use(use, path, block.number, block.moe ? part_of_experts(block) : LayerPart::kDense,
              block.moe ? block.moe->experts : 1);
  }
}

}  // namespace

RecordedUse::RecordedUse(const UseConfig& config, const Parent& parent)
    : path_(config.use), dense_units_(parent.recipe.model.ffn_hidden) {
  if (path_.empty()) {
    parallel::user_error("to choose by a recorded use wants use, the file that `moetrain evaluate ", parent.place,
                         " --record FILE` writes");
  }
  const bool seam = path_ == kUseOfSeam;
  if (seam && parent.standing == Standing::kLater) return;
  if (seam && parent.use == nullptr) {
    parallel::user_error("use = \"", kUseOfSeam, "\" is what is recorded between two stages, and ", parent.place,
                         " is at none; legal: the file that `moetrain evaluate --record FILE` writes");
  }
  if (!seam && parent.standing == Standing::kLater) {
    parallel::user_error("use = \"", path_, "\" of ", parent.place, ", which is not there yet; legal: use = \"",
                         kUseOfSeam, "\", what is recorded of held-out text when this stage begins");
  }
  use_ = seam ? parent.use : std::make_shared<const ExpertUse>(read_use(path_));
  check_shapes(*use_, path_, parent.recipe);
  if (!seam && parent.standing == Standing::kHere) check_use_of(*use_, path_, *parent.weights, parent.place);
  groups_ = chosen_groups(*use_, config.groups);
}

const std::vector<std::string>& RecordedUse::groups() const {
  if (use_ == nullptr) {
    parallel::user_error("use = \"", kUseOfSeam, "\", whose groups are not known yet; legal: domains that name them");
  }
  return use_->groups;
}

const LayerUse& RecordedUse::layer(const ExpertBlock& block, LayerPart part) const {
  const bool experts = part == LayerPart::kExperts;
  return layer_use(*use_, path_, block.number, experts ? part_of_experts(block) : part,
                   experts ? block.moe->experts : 1);
}

at::Tensor RecordedUse::sum(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of) const {
  if (use_ == nullptr) return at::zeros({moetrain::expert_kinds(*block.moe).total()}, at::kDouble);
  return over_groups(layer(block, part).*of, groups_);
}

std::vector<double> RecordedUse::units(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of,
                                       int64_t expert) const {
  if (use_ == nullptr) {
    const int64_t units = part == LayerPart::kDense    ? dense_units_
                          : part == LayerPart::kShared ? block.moe->shared_hidden
                                                       : block.kinds.front().hidden;
    return std::vector<double>(static_cast<size_t>(units), 0.0);
  }
  const int64_t units = layer(block, part).units.at(static_cast<size_t>(expert));
  if (units == 0) {
    parallel::user_error(path_, ": holds no hidden units of the experts of block ", block.number,
                         " (which share weights, or work on whole sequences); legal: by = \"norm\"");
  }
  const at::Tensor sum_F = over_groups(layer(block, part).*of, groups_)[expert].narrow(0, 0, units).contiguous();
  return {sum_F.const_data_ptr<double>(), sum_F.const_data_ptr<double>() + units};
}

double recorded_bound(const Recipe& recipe) {
  return moetrain::tie_bound(recipe.run.precision == Precision::kFloat64 ? at::kDouble : at::kFloat);
}

std::vector<int64_t> largest(const std::vector<double>& worth, int64_t count, double bound) {
  std::vector<moetrain::Claim> claims;
  for (size_t i = 0; i < worth.size(); ++i) {
    claims.push_back({.value = worth[i], .magnitude = std::abs(worth[i]), .order = static_cast<int64_t>(i)});
  }
  moetrain::rank(claims, bound);
  std::vector<int64_t> kept;
  for (const moetrain::Claim& claim : claims) {
    if (std::ssize(kept) < count) kept.push_back(claim.order);
  }
  std::ranges::sort(kept);
  return kept;
}

}  // namespace launch
