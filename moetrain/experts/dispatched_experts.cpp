#include "moetrain/experts/dispatched_experts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/experts/adapted_experts.h"
#include "moetrain/experts/expert_mix.h"
#include "moetrain/layers/sequence_rows.h"
#include "parallel/base/fault.h"

namespace moetrain {

DispatchedExperts::DispatchedExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds,
                                     const ExpertShape& shape, const MoeConfig& config)
    : width_(shape.width), of_sequences_(config.rows == Rows::kSequences) {
  const parallel::Mesh& mesh = *source.mesh();
  group_ = {source.mesh(), parallel::expert_map(mesh.config(), weight_sets(config)), mesh.schedule()->add_layer()};
  const int64_t shared_by = mesh.shape().expert_tensor, rank = mesh.place().expert;
  const std::vector<ExpertRange> ranges = expert_ranges(config, kinds);
  std::vector<ExpertMix::Part> parts;
  for (const ExpertRange& range : ranges) {
    auto compute = range.preset->compute(part_of(range, shape, shared_by), config);
    const size_t before = weights_.size();
    const std::vector<ExpertWeight> weights = range.preset->weights(part_of(range, shape), config);
    for (const ExpertWeight& weight : weights) add_weight(source, range, weight);
    std::vector<size_t> adapted;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (add_adapter(source, range, weights[i])) adapted.push_back(i);
    }
    if (!adapted.empty()) {
      compute = std::make_shared<AdaptedExperts>(std::move(compute), weights.size(), std::move(adapted),
                                                 source.adapters()->config().scale());
    }
    if (of_sequences_ && !range.preset->sequences) compute = std::make_shared<EachPlace>(std::move(compute), width_);
    const bool shows =
        compute->hidden_units({weights_.begin() + static_cast<std::ptrdiff_t>(before), weights_.end()}) > 0;
    hidden_units_.insert(hidden_units_.end(), static_cast<size_t>(range.count), shows ? range.hidden : 0);
    parts.push_back({std::move(compute), weights_.size() - before, of_sequences_ ? "" : range.kind});
  }
  compute_ = parts.size() == 1 ? parts.front().compute : std::make_shared<ExpertMix>(std::move(parts));
  costs_ = expert_costs(ranges, {group_.map.first(rank), group_.map.count(rank)}, shape, shared_by, config);
}

parallel::DimPart DispatchedExperts::own_experts(const ExpertRange& range) const {
  const int64_t first = group_.map.first(group_.mesh->place().expert);
  const int64_t end = first + group_.map.count(group_.mesh->place().expert);
  const int64_t begin = std::clamp<int64_t>(first - range.first, 0, range.count);
  return {0, begin, std::clamp<int64_t>(end - range.first, 0, range.count) - begin};
}

void DispatchedExperts::add_weight(const ParameterSource& source, const ExpertRange& range,
                                   const ExpertWeight& weight) {
  const parallel::Mesh& mesh = *source.mesh();
  const int64_t parts = mesh.shape().expert_tensor;
  std::vector<parallel::DimPart> own{own_experts(range)};
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

bool DispatchedExperts::add_adapter(const ParameterSource& source, const ExpertRange& range,
                                    const ExpertWeight& weight) {
  const std::string name = weight.name + range.suffix, a = name + "_lora_a", b = name + "_lora_b";
  if (weight.dims.size() != 2) return false;
  if (!source.adapts(name, {.weight = name, .a = a, .b = b, .of_experts = true})) return false;
  if (const double dropout = source.adapters()->config().dropout; dropout > 0) {
    parallel::user_error(
        "lora.dropout = ", dropout, " with an adapter of '", source.adapters()->all().back().layer,
        "', whose rows are dispatched, and draw nothing; legal: dropout = 0, or lora.layers without experts");
  }
  const parallel::Mesh& mesh = *source.mesh();
  const int64_t parts = mesh.shape().expert_tensor, rank = source.adapters()->config().rank;
  const int64_t in = weight.dims[0], out = weight.dims[1];
  // What counts hidden units is cut as the weight is; the other factor all parts of an expert have whole.
  const auto placed = [&](const std::vector<int64_t>& dims, bool cut, int64_t dim) {
    std::vector<parallel::DimPart> own{own_experts(range)};
    if (cut) {
      const int64_t hidden = dims[static_cast<size_t>(dim)] / parts;
      own.push_back({dim, mesh.place().expert_tensor * hidden, hidden});
    }
    const bool whole = !cut && parts > 1;
    return source.block_of(dims, own, whole ? parallel::Replicas::kExpertParts : parallel::Replicas::kExpertData);
  };
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  const auto place_a = placed({range.count, in, rank}, weight.hidden_dim == std::optional<size_t>(0), 1);
  const auto place_b = placed({range.count, rank, out}, weight.hidden_dim == std::optional<size_t>(1), 2);
  weights_.push_back(register_parameter(a, source.uniform(a, place_a, bound)));
  weights_.push_back(register_parameter(b, source.normal(b, place_b, 0.0)));
  parameters_ += range.count * rank * (in + out);
  return true;
}

int64_t DispatchedExperts::row_width(int64_t places) const {
  return of_sequences_ ? SequenceRows::width(places, width_) : width_;
}

at::Tensor DispatchedExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_pipeline(tokens_TD, assignment, compute_, weights_, group_);
}

at::Tensor DispatchedExperts::hidden(const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert) const {
  const parallel::MeshShape& shape = group_.mesh->shape();
  parallel::check_internal(shape.expert * shape.expert_tensor == 1, "hidden units of experts that are spread");
  return compute_->hidden(rows_RD, rows_per_expert, weights_);
}

}  // namespace moetrain
