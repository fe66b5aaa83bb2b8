#include "launch/surgery/recorded_use.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// Before the fingerprint, which says less.
void check_shapes(const ExpertUse& use, const std::string& path, const Recipe& recipe) {
  for (const ExpertBlock& block : expert_blocks_of(recipe)) {
    if (block.slot != moetrain::Slot::kFeedForward) continue;
    layer_use(use, path, block.number, block.moe ? LayerPart::kExperts : LayerPart::kDense,
              block.moe ? block.moe->experts : 1);
  }
}

}  // namespace

RecordedUse::RecordedUse(const UseConfig& config, const Parent& parent) : path_(config.use) {
  if (path_.empty()) {
    parallel::user_error("to choose by a recorded use wants use, the file that `moetrain evaluate ", parent.place,
                         " --record FILE` writes");
  }
  use_ = read_use(path_);
  check_shapes(use_, path_, parent.recipe);
  check_use_of(use_, path_, *parent.weights, parent.place);
  groups_ = chosen_groups(use_, config.groups);
}

const LayerUse& RecordedUse::layer(const ExpertBlock& block, LayerPart part) const {
  if (block.slot != moetrain::Slot::kFeedForward) {
    parallel::user_error(path_, ": holds no use of the experts in the place of block ", block.number,
                         "'s attention; legal: by = \"list\", \"norm\" or \"random\"");
  }
  return layer_use(use_, path_, block.number, part, part == LayerPart::kExperts ? block.moe->experts : 1);
}

at::Tensor RecordedUse::sum(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of) const {
  return over_groups(layer(block, part).*of, groups_);
}

std::vector<double> RecordedUse::units(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of,
                                       int64_t expert) const {
  const int64_t units = layer(block, part).units.at(static_cast<size_t>(expert));
  if (units == 0) {
    parallel::user_error(path_, ": holds no hidden units of the experts of block ", block.number,
                         " (which share weights, or work on whole sequences); legal: by = \"norm\"");
  }
  const at::Tensor sum_F = sum(block, part, of)[expert].narrow(0, 0, units).contiguous();
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
