#include "launch/planning/machine_profile.h"

#include <algorithm>

#include "launch/planning/step_prediction.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

double dense_seconds(const parallel::StepModel& model) {
  double sum = model.head_forward_seconds + model.head_backward_seconds;
  for (const parallel::LayerLoad& layer : model.layers) {
    sum += layer.dense_forward_seconds + layer.dense_backward_seconds;
  }
  return sum;
}

constexpr double kLeastSlope = 1e-15;  // of messages so small that only their number counts; a file's are above 0

MachineLine given(const parallel::Line& line) {
  if (line.alpha <= 0 && line.beta <= 0) return {};
  return {.alpha = line.alpha, .beta = std::max(kLeastSlope, line.beta)};
}

MachineLine mean_multiplication(const parallel::CostLines& lines) {
  MachineLine mean{.alpha = 0, .beta = 0};
  for (const parallel::Line& line : {lines.expert_forward, lines.expert_input_gradient, lines.expert_weight_gradient}) {
    mean.alpha += line.alpha / 3;
    mean.beta += line.beta / 3;
  }
  return mean;
}

}  // namespace

Machine machine_of(const Profile& profile, const ProfiledJob& job) {
  const Recipe& recipe = job.recipe;
  if (recipe.mesh.tensor > 1 || recipe.mesh.zero > 0) {
    parallel::user_error(
        "a machine's lines are read off a layout whose dense parts exchange nothing, not of mesh.tensor = ",
        recipe.mesh.tensor, " and mesh.zero = ", recipe.mesh.zero, "; legal: tensor = 1 and zero = 0");
  }
  const parallel::CostLines& lines = profile.model.lines;
  if (lines.expert_forward.beta <= 0) {
    parallel::user_error(
        "a machine's lines are read off the experts' multiplications, and none were measured; legal: a ",
        "recipe with feed-forward experts and some rows for each");
  }
  Machine machine{.name = job.name,
                  .memory_gib = job.memory_gib,
                  .ranks_per_host = job.cluster.ranks_per_host,
                  .compute_contention = profile.model.contention.compute,
                  .link_contention = profile.model.contention.link,
                  .place = job.name};
  (recipe.run.precision == Precision::kBf16      ? machine.bf16
   : recipe.run.precision == Precision::kFloat64 ? machine.float64
                                                 : machine.float32) = mean_multiplication(lines);
  const Workload work = workload_of(recipe, job.vocabulary, job.cluster.ranks());
  const std::vector<HostAxis> axes = host_axes(work.mesh, job.cluster);
  const auto link = [&](parallel::Axis axis, parallel::GroupUse use = parallel::GroupUse::kTokens) -> LinkLines& {
    return crosses_hosts(axes, axis, use) ? machine.between : machine.inside;
  };
  link(parallel::Axis::kExpert).all_to_all = given(lines.all_to_all);
  link(parallel::Axis::kExpertTensor).all_gather = given(lines.all_gather);
  link(parallel::Axis::kExpertTensor).reduce_scatter = given(lines.reduce_scatter);
  link(parallel::Axis::kWorld, parallel::GroupUse::kGradients).all_reduce = given(lines.all_reduce);
  // Planned dense seconds are a line over the sweeps' slope.
  const ParameterTable parameters = count_parameters(recipe, job.vocabulary, job.cluster.ranks(), 0);
  const auto planned = [&](double slope) {
    machine.sweep = {.alpha = 0, .beta = slope};
    return dense_seconds(step_costs(recipe, parameters, work, machine, job.cluster).model);
  };
  constexpr double kSlope = 1e-10;
  const double without = planned(0), with = planned(kSlope);
  const double slope = (dense_seconds(profile.model) - without) / (with - without) * kSlope;
  machine.sweep = {.alpha = 0, .beta = std::max(kLeastSlope, slope)};
  return machine;
}

}  // namespace launch
