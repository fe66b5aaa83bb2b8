#include "moetrain/experts/expert_weights.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/experts/adapted_experts.h"
#include "parallel/base/fault.h"

namespace moetrain {

ExpertWeights::ExpertWeights(const ParameterSource& source, const MoeConfig& config)
    : mesh_(source.mesh()),
      map_(parallel::expert_map(mesh_->config(), weight_sets(config), weight_sets_word(config))) {}

parallel::ExpertGroup ExpertWeights::new_group() const { return {mesh_, map_, mesh_->schedule()->add_layer()}; }

ExpertSpan ExpertWeights::own_span() const {
  const int64_t rank = mesh_->place().expert;
  return {map_.first(rank), map_.count(rank)};
}

parallel::DimPart ExpertWeights::own_experts(const ExpertRange& range) const {
  const auto [first, experts] = own_span();
  const int64_t begin = std::clamp<int64_t>(first - range.first, 0, range.count);
  return {0, begin, std::clamp<int64_t>(first + experts - range.first, 0, range.count) - begin};
}

ExpertWeights::Computing ExpertWeights::add(const ParameterSource& source, const ExpertRange& range,
                                            const std::vector<ExpertWeight>& weights,
                                            std::shared_ptr<const parallel::ExpertCompute> compute,
                                            std::vector<at::Tensor>& to) {
  const size_t before = to.size();
  for (const ExpertWeight& weight : weights) to.push_back(add_weight(source, range, weight));
  std::vector<size_t> adapted;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (add_adapter(source, range, weights[i], to)) adapted.push_back(i);
  }
  if (!adapted.empty()) {
    compute = std::make_shared<AdaptedExperts>(std::move(compute), weights.size(), std::move(adapted),
                                               source.adapters()->config().scale());
  }
  return {std::move(compute), to.size() - before};
}

at::Tensor ExpertWeights::add_weight(const ParameterSource& source, const ExpertRange& range,
                                     const ExpertWeight& weight) {
  const int64_t parts = mesh_->shape().expert_tensor;
  std::vector<parallel::DimPart> own{own_experts(range)};
  if (weight.hidden_dim) {
    const int64_t hidden = weight.dims.at(*weight.hidden_dim) / parts;
    own.push_back({static_cast<int64_t>(*weight.hidden_dim) + 1, mesh_->place().expert_tensor * hidden, hidden});
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
  return register_parameter(name, source.block(name, dims, own, parallel::Replicas::kExpertData, weight.std));
}

bool ExpertWeights::add_adapter(const ParameterSource& source, const ExpertRange& range, const ExpertWeight& weight,
                                std::vector<at::Tensor>& to) {
  const std::string name = weight.name + range.suffix, a = name + "_lora_a", b = name + "_lora_b";
  if (weight.dims.size() != 2) return false;
  if (!source.adapts(name, {.weight = name, .a = a, .b = b, .of_experts = true})) return false;
  if (const double dropout = source.adapters()->config().dropout; dropout > 0) {
    parallel::user_error(
        "lora.dropout = ", dropout, " with an adapter of '", source.adapters()->all().back().layer,
        "', whose rows are dispatched, and draw nothing; legal: dropout = 0, or lora.layers without experts");
  }
  const int64_t parts = mesh_->shape().expert_tensor, rank = source.adapters()->config().rank;
  const int64_t in = weight.dims[0], out = weight.dims[1];
  // What counts hidden units is cut as the weight is; the other factor all parts of an expert have whole.
  const auto placed = [&](const std::vector<int64_t>& dims, bool cut, int64_t dim) {
    std::vector<parallel::DimPart> own{own_experts(range)};
    if (cut) {
      const int64_t hidden = dims[static_cast<size_t>(dim)] / parts;
      own.push_back({dim, mesh_->place().expert_tensor * hidden, hidden});
    }
    const bool whole = !cut && parts > 1;
    return source.block_of(dims, own, whole ? parallel::Replicas::kExpertParts : parallel::Replicas::kExpertData);
  };
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  const auto place_a = placed({range.count, in, rank}, weight.hidden_dim == std::optional<size_t>(0), 1);
  const auto place_b = placed({range.count, rank, out}, weight.hidden_dim == std::optional<size_t>(1), 2);
  to.push_back(register_parameter(a, source.uniform(a, place_a, bound)));
  to.push_back(register_parameter(b, source.normal(b, place_b, 0.0)));
  parameters_ += range.count * rank * (in + out);
  return true;
}

}  // namespace moetrain
