#include "moetrain/experts/dispatched_experts.h"

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

using parallel::user_error;

/// A rank's part of an expert.
ExpertShape part_of(ExpertShape shape, int64_t parts) {
  if (shape.hidden % parts != 0) {
    const int64_t below = shape.hidden / parts * parts;
    user_error("mesh.expert_tensor = ", parts, " does not divide moe.hidden = ", shape.hidden,
               "; legal: a hidden width such as ", below, " or ", below + parts);
  }
  shape.hidden /= parts;
  return shape;
}

}  // namespace

DispatchedExperts::DispatchedExperts(const ParameterSource& source, const ExpertPreset& preset,
                                     const ExpertShape& shape, const MoeConfig& config)
    : width_(shape.width) {
  const parallel::Mesh& mesh = *source.mesh();
  group_ = {source.mesh(), parallel::expert_map(mesh.config(), config.experts), mesh.schedule()->add_layer()};
  const int64_t parts = mesh.shape().expert_tensor, expert = mesh.place().expert;
  const ExpertShape part = part_of(shape, parts);
  for (const ExpertWeight& weight : preset.weights(shape, config)) {
    std::vector<parallel::DimPart> own{{0, group_.map.first(expert), group_.map.count(expert)}};
    if (weight.hidden_dim) {
      const int64_t hidden = weight.dims.at(*weight.hidden_dim) / parts;
      own.push_back({static_cast<int64_t>(*weight.hidden_dim) + 1, mesh.place().expert_tensor * hidden, hidden});
    } else if (parts > 1) {
      user_error("mesh.expert_tensor = ", parts, " with moe.expert = \"", config.expert, "\": its weight \"",
                 weight.name,
                 "\" has no hidden units to share out; legal: expert_tensor = 1, or expert = \"feed_forward\"");
    }
    std::vector<int64_t> dims{config.experts};
    dims.insert(dims.end(), weight.dims.begin(), weight.dims.end());
    if (weight.dims.size() == 1) source.call_vectors(weight.name);
    weights_.push_back(register_parameter(
        weight.name, source.block(weight.name, dims, own, parallel::Replicas::kExpertData, weight.std)));
  }
  compute_ = preset.compute(part, config);
  costs_ = expert_costs(preset, part, config);
}

at::Tensor DispatchedExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_pipeline(tokens_TD, assignment, compute_, weights_, group_);
}

}  // namespace moetrain
