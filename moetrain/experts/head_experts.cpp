#include "moetrain/experts/head_experts.h"

#include "moetrain/experts/expert_mix.h"
#include "moetrain/experts/linear_experts.h"
#include "parallel/base/fault.h"
#include "parallel/dispatch/expert_pipeline.h"

namespace moetrain {
namespace {

std::vector<ExpertWeight> head_weights(const ExpertShape& shape, const MoeConfig&) {
  return {{"query", {shape.width, shape.hidden}, shape.std, 1},
          {"output", {shape.hidden, shape.width}, shape.output_std, 0}};
}

ExpertCosts head_costs(const ExpertShape& part, const MoeConfig&) {
  return {.matrices = 2, .multiply_adds = static_cast<double>(2 * part.width * part.hidden)};
}

}  // namespace

HeadExperts::HeadExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds,
                         const ExpertShape& shape, const MoeConfig& config)
    : ExpertWeights(source, config), width_(shape.width) {
  const std::vector<ExpertRange> ranges = expert_ranges(config, kinds);
  for (const ExpertRange& range : ranges) {
    parallel::check_internal(range.preset->slot == Slot::kAttention && range.hidden == ranges.front().hidden,
                             "HeadExperts of ", config.expert);
  }
  hidden_ = ranges.front().hidden;
  map_ = add_half(source, ranges, shape, config, 0);
  reduce_ = add_half(source, ranges, shape, config, 1);
  costs_ = half_of(expert_costs(ranges, own_span(), shape, source.mesh()->shape().expert_tensor, config));
}

HeadExperts::Half HeadExperts::add_half(const ParameterSource& source, const std::vector<ExpertRange>& ranges,
                                        const ExpertShape& shape, const MoeConfig& config, size_t half) {
  const parallel::Mesh& mesh = *source.mesh();
  const int64_t parts = mesh.shape().expert_tensor;
  Half made{.group = new_group(), .weights = {}, .compute = nullptr};
  std::vector<ExpertMix::Part> mix;
  for (const ExpertRange& range : ranges) {
    const LinearExperts::Part part{.end = half == 0 ? LinearExperts::Part::End::kOut : LinearExperts::Part::End::kIn,
                                   .first = mesh.place().expert_tensor * part_of(range, shape, parts).hidden,
                                   .whole = hidden_};
    const std::vector<ExpertWeight> all = range.preset->weights(part_of(range, shape), config);
    auto [compute, weights] = add(source, range, {all.at(half)}, std::make_shared<LinearExperts>(part), made.weights);
    mix.push_back({std::move(compute), weights, range.kind});
  }
  const int64_t out_width = half == 0 ? hidden_ : width_;
  made.compute = mix.size() == 1 ? mix.front().compute : std::make_shared<ExpertMix>(std::move(mix), out_width);
  return made;
}

at::Tensor HeadExperts::map(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_map(tokens_TD, assignment, map_.compute, map_.weights, map_.group);
}

at::Tensor HeadExperts::reduce(const at::Tensor& mixed_TKA, const parallel::Assignment& assignment) const {
  return parallel::expert_reduce(mixed_TKA, assignment, reduce_.compute, reduce_.weights, reduce_.group);
}

std::vector<ExpertCall> HeadExperts::calls(int64_t) const {
  return {{map_.group, map_.weights, map_.compute, width_, hidden_, costs_},
          {reduce_.group, reduce_.weights, reduce_.compute, hidden_, width_, costs_}};
}

ExpertPreset heads_expert() { return {.weights = head_weights, .costs = head_costs, .slot = Slot::kAttention}; }

ExpertCosts half_of(const ExpertCosts& costs) {
  ExpertCosts half = costs;
  half.parameters /= 2, half.matrices /= 2, half.multiply_adds /= 2;
  return half;
}

}  // namespace moetrain
