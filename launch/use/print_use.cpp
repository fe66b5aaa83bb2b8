#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "launch/use/expert_use.h"
#include "parallel/base/printable.h"

namespace launch {
namespace {

/// Mean and deviation over rows of how many of their choices compute, and the share of rows with none.
struct Computing {
  double mean = 0, deviation = 0, none = 0;
};

Computing computing_of(const at::Tensor& rows_N) {
  const double rows = std::max(1.0, rows_N.sum().item<double>());
  const at::Tensor number_N = at::arange(rows_N.size(0), at::kDouble);
  const double mean = (rows_N * number_N).sum().item<double>() / rows;
  const double square = (rows_N * number_N * number_N).sum().item<double>() / rows;
  return {mean, std::sqrt(std::max(0.0, square - mean * mean)), rows_N[0].item<double>() / rows};
}

void print_experts(const LayerUse& layer, const ExpertUse& use) {
  const std::vector<int64_t> all = chosen_groups(use, "");
  const at::Tensor chosen_E = over_groups(layer.chosen_GE, all), gates_E = over_groups(layer.gates_GE, all);
  const at::Tensor apart_EE = over_groups(layer.together_GEE, all).fill_diagonal_(-1);
  const double choices = std::max(1.0, chosen_E.sum().item<double>());
  const Computing computing = computing_of(over_groups(layer.computing_GN, all));
  std::printf("block %lld: %lld %s, %lld rows; that compute, of a row's choices: %.3f, deviation %.3f, none %.2f %%\n",
              static_cast<long long>(layer.block), static_cast<long long>(layer.experts()),
              to_string(layer.part).c_str(), static_cast<long long>(layer.seen_G.sum().item<int64_t>()), computing.mean,
              computing.deviation, 100 * computing.none);
  std::printf("  %6s %12s %8s %10s %14s", "expert", "chosen", "share", "mean gate", "most with");
  for (const std::string& group : use.groups) std::printf(" %12s", parallel::printable(group).c_str());
  std::printf("\n");
  for (int64_t e = 0; e < layer.experts(); ++e) {
    const double chosen = chosen_E[e].item<double>();
    std::printf("  %6lld %12.0f %7.2f%% %10.4f", static_cast<long long>(e), chosen, 100 * chosen / choices,
                gates_E[e].item<double>() / std::max(1.0, chosen));
    const at::Tensor most = apart_EE[e].argmax();
    const double with = apart_EE[e][most].item<double>();
    if (with > 0) {
      std::printf(" %5lld (%5.1f%%)", static_cast<long long>(most.item<int64_t>()), 100 * with / chosen);
    } else {
      std::printf(" %14s", "-");
    }
    for (size_t g = 0; g < use.groups.size(); ++g) {
      const at::Tensor own_E = layer.chosen_GE[static_cast<int64_t>(g)];
      const double of_group = std::max<double>(1.0, static_cast<double>(own_E.sum().item<int64_t>()));
      std::printf(" %11.2f%%", 100 * static_cast<double>(own_E[e].item<int64_t>()) / of_group);
    }
    std::printf("\n");
  }
}

}  // namespace

void print_use(const ExpertUse& use) {
  std::printf("use of experts, recorded of %s after update %lld, weights %s, recipe %s\n",
              parallel::printable(use.run).c_str(), static_cast<long long>(use.update),
              parallel::printable(use.fingerprint).c_str(), parallel::printable(use.recipe_hash).c_str());
  for (const LayerUse& layer : use.layers) {
    if (layer.part == LayerPart::kExperts || layer.part == LayerPart::kModules) {
      print_experts(layer, use);
      continue;
    }
    std::printf("block %lld, %s feed-forward of %lld hidden units: %lld rows\n", static_cast<long long>(layer.block),
                to_string(layer.part).c_str(), static_cast<long long>(layer.units.front()),
                static_cast<long long>(layer.seen_G.sum().item<int64_t>()));
  }
}

}  // namespace launch
