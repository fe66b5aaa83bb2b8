#include "moetrain/experts/dispatched_experts.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "moetrain/experts/expert_mix.h"
#include "moetrain/layers/sequence_rows.h"
#include "parallel/base/fault.h"

namespace moetrain {

DispatchedExperts::DispatchedExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds,
                                     const ExpertShape& shape, const MoeConfig& config)
    : width_(shape.width), of_sequences_(config.rows == Rows::kSequences) {
  const parallel::Mesh& mesh = *source.mesh();
  group_ = {source.mesh(), parallel::expert_map(mesh.config(), config.experts), mesh.schedule()->add_layer()};
  const int64_t shared_by = mesh.shape().expert_tensor, rank = mesh.place().expert;
  const std::vector<ExpertRange> ranges = expert_ranges(config, kinds);
  std::vector<ExpertMix::Part> parts;
  for (const ExpertRange& range : ranges) {
    auto compute = range.preset->compute(part_of(range, shape, shared_by), config);
    const size_t before = weights_.size();
    for (const ExpertWeight& weight : range.preset->weights(part_of(range, shape), config)) {
      add_weight(source, range, weight);
    }
    if (of_sequences_ && !range.preset->sequences) compute = std::make_shared<EachPlace>(std::move(compute), width_);
    parts.push_back({std::move(compute), weights_.size() - before, of_sequences_ ? "" : range.kind});
  }
  compute_ = parts.size() == 1 ? parts.front().compute : std::make_shared<ExpertMix>(std::move(parts));
  costs_ = expert_costs(ranges, {group_.map.first(rank), group_.map.count(rank)}, shape, shared_by, config);
}

void DispatchedExperts::add_weight(const ParameterSource& source, const ExpertRange& range,
                                   const ExpertWeight& weight) {
  const parallel::Mesh& mesh = *source.mesh();
  const int64_t parts = mesh.shape().expert_tensor, expert = mesh.place().expert;
  // Of the kind's experts those that this rank has.
  const int64_t first = std::clamp<int64_t>(group_.map.first(expert) - range.first, 0, range.count);
  const int64_t end =
      std::clamp<int64_t>(group_.map.first(expert) + group_.map.count(expert) - range.first, 0, range.count);
  std::vector<parallel::DimPart> own{{0, first, end - first}};
  if (weight.hidden_dim) {
    const int64_t hidden = weight.dims.at(*weight.hidden_dim) / parts;
    own.push_back({static_cast<int64_t>(*weight.hidden_dim) + 1, mesh.place().expert_tensor * hidden, hidden});
  } else if (parts > 1) {
    parallel::user_error("mesh.expert_tensor = ", parts, " with ", range.section, ".expert = \"", range.kind,
                         "\": its weight \"", weight.name,
                         "\" has no hidden units to share out; legal: expert_tensor = 1, or expert = \"feed_forward\"");
  }
  std::vector<int64_t> dims{range.count};
  dims.insert(dims.end(), weight.dims.begin(), weight.dims.end());
  parameters_ += std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
  const std::string name = weight.name + range.suffix;
  if (weight.dims.size() == 1) source.call_vectors(name);
  weights_.push_back(
      register_parameter(name, source.block(name, dims, own, parallel::Replicas::kExpertData, weight.std)));
}

int64_t DispatchedExperts::row_width(int64_t places) const {
  return of_sequences_ ? SequenceRows::width(places, width_) : width_;
}

at::Tensor DispatchedExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_pipeline(tokens_TD, assignment, compute_, weights_, group_);
}

}  // namespace moetrain
