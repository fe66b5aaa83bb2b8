#include "moetrain/experts/dispatched_experts.h"

#include "moetrain/experts/expert_mix.h"
#include "moetrain/layers/sequence_rows.h"
#include "parallel/dispatch/expert_pipeline.h"

namespace moetrain {

DispatchedExperts::DispatchedExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds,
                                     const ExpertShape& shape, const MoeConfig& config)
    : ExpertWeights(source, config),
      group_(new_group()),
      width_(shape.width),
      of_sequences_(config.rows == Rows::kSequences) {
  const int64_t shared_by = source.mesh()->shape().expert_tensor;
  const std::vector<ExpertRange> ranges = expert_ranges(config, kinds);
  std::vector<ExpertMix::Part> parts;
  for (const ExpertRange& range : ranges) {
    auto [compute, weights] = add(source, range, range.preset->weights(part_of(range, shape), config),
                                  range.preset->compute(part_of(range, shape, shared_by), config), weights_);
    if (of_sequences_ && !range.preset->sequences) compute = std::make_shared<EachPlace>(std::move(compute), width_);
    const auto first = weights_.end() - static_cast<std::ptrdiff_t>(weights);
    hidden_units_.insert(hidden_units_.end(), static_cast<size_t>(range.count),
                         compute->hidden_units({first, weights_.end()}) > 0 ? range.hidden : 0);
    parts.push_back({std::move(compute), weights, of_sequences_ ? "" : range.kind});
  }
  compute_ = parts.size() == 1 ? parts.front().compute : std::make_shared<ExpertMix>(std::move(parts));
  costs_ = expert_costs(ranges, own_span(), shape, shared_by, config);
}

at::Tensor DispatchedExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_pipeline(tokens_TD, assignment, compute_, weights_, group_);
}

at::Tensor DispatchedExperts::hidden(const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert) const {
  const parallel::MeshShape& shape = group_.mesh->shape();
  parallel::check_internal(shape.expert * shape.expert_tensor == 1, "hidden units of experts that are spread");
  return compute_->hidden(rows_RD, rows_per_expert, weights_);
}

std::vector<ExpertCall> DispatchedExperts::calls(int64_t places) const {
  const int64_t width = of_sequences_ ? SequenceRows::width(places, width_) : width_;
  ExpertCosts costs = costs_;
  if (of_sequences_) costs.multiply_adds *= static_cast<double>(places);
  return {{group_, weights_, compute_, width, width, costs}};
}

}  // namespace moetrain
