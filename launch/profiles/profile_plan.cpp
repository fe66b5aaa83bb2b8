#include "launch/profiles/profile_plan.h"

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/schedule/schedules.h"

namespace launch {

using parallel::LayerPlan;
using parallel::Plan;

namespace {

/// A prediction is not trusted for less: what a message costs the cores that compute, in steps too short to show it in
/// the profile, took 3 to 7 % of a step of 20 ms that was predicted 3 % faster (tests/figures/overlap_no_gain).
constexpr double kLeastStepGain = 0.05;

}  // namespace

parallel::Plan plan_of(const std::string& schedule, const Profile& profile, int64_t layers) {
  for (const int64_t layer : profile.layer_of_call) {
    if (layer < layers) continue;
    parallel::user_error("the profile calls expert layer ", layer, ", and this model has ", layers,
                         "; legal: a profile of this model");
  }
  const Plan by_call = parallel::builtin_schedules().at(schedule)(profile.model, {.least_step_gain = kLeastStepGain});
  Plan plan = by_call;
  const bool in_pieces = std::ranges::any_of(
      by_call.layers, [](const LayerPlan& layer) { return std::max(layer.forward_chunks, layer.backward_chunks) > 1; });
  plan.carve_out = plan.overlap && in_pieces ? profile.model.carve_out : 0;
  plan.layers.clear();
  if (!by_call.layers.empty()) plan.layers.resize(static_cast<size_t>(layers));
  for (size_t i = by_call.layers.size(); i-- > 0;) {
    LayerPlan& layer = plan.layers.at(static_cast<size_t>(profile.layer_of_call[i]));
    layer.forward_chunks = by_call.layers[i].forward_chunks;
    layer.backward_chunks = by_call.layers[i].backward_chunks;
    layer.moe_gradient_bytes += by_call.layers[i].moe_gradient_bytes;
    layer.dense_gradient_bytes += by_call.layers[i].dense_gradient_bytes;
  }
  return plan;
}

parallel::Timeline predicted(const Profile& profile, const Plan& plan) {
  Plan by_call = plan;
  by_call.layers.clear();
  if (plan.layers.empty()) return parallel::predicted(profile.model, by_call, {});
  std::vector<bool> seen(plan.layers.size(), false);
  for (const int64_t layer : profile.layer_of_call) {
    LayerPlan of_call = plan.layers.at(static_cast<size_t>(layer));
    if (seen[static_cast<size_t>(layer)]) of_call.moe_gradient_bytes = of_call.dense_gradient_bytes = 0;
    seen[static_cast<size_t>(layer)] = true;
    by_call.layers.push_back(of_call);
  }
  int64_t pending = profile.model.head_gradient_bytes;
  const auto take = [&](int64_t& released) { pending -= released = std::min(released, pending); };
  for (size_t i = by_call.layers.size(); i-- > 0;) {
    take(by_call.layers[i].moe_gradient_bytes);
    take(by_call.layers[i].dense_gradient_bytes);
    pending += profile.model.layers[i].dense_gradient_bytes;
  }
  return parallel::predicted(profile.model, by_call, {});
}

double contention_of(Profile profile, const Plan& plan, double seconds) {
  constexpr double kMost = 1, kFine = 1e-3;
  const auto takes = [&](double share) {
    profile.model.contention = {.compute = share, .link = share};
    return predicted(profile, plan).seconds;
  };
  double less = 0, more = kMost;
  if (takes(less) >= seconds) return less;
  if (takes(more) <= seconds) return more;
  while (more - less > kFine) {
    const double middle = (less + more) / 2;
    (takes(middle) < seconds ? less : more) = middle;
  }
  return (less + more) / 2;
}

}  // namespace launch
