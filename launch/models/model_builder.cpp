#include "launch/models/model_builder.h"

#include <utility>

#include "launch/planning/memory_model.h"
#include "moetrain/models/models.h"

namespace launch {

namespace {

parallel::Replicas replicas_of(const moetrain::Model& model, const std::string& name) {
  const auto found = model.placements().find(name);
  return found == model.placements().end() ? parallel::Replicas::kWorld : found->second.replicas;
}

/// The ranks over which each parameter's gradient is summed, in the order of named_parameters.
std::vector<std::shared_ptr<parallel::Communicator>> gradient_groups(const moetrain::Model& model,
                                                                     const parallel::Mesh& mesh) {
  std::vector<std::shared_ptr<parallel::Communicator>> groups;
  for (const auto& parameter : model.named_parameters()) {
    groups.push_back(mesh.replicas(replicas_of(model, parameter.key())));
  }
  return groups;
}

}  // namespace

std::shared_ptr<moetrain::Model> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device,
                                             std::shared_ptr<const parallel::Mesh> mesh) {
  const auto options = at::TensorOptions(dtype_of(recipe.run.precision)).device(device);
  const moetrain::ParameterSource source(static_cast<uint64_t>(recipe.run.seed), options, std::move(mesh));
  const Registry& registry = *recipe.registry;
  return recipe.model_preset().make({recipe.model, recipe.moe, vocabulary, source, registry});
}

int64_t training_bytes(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank) {
  return state_memory(recipe, count_parameters(recipe, vocabulary, ranks, rank)).total();
}

CheckpointTensor checkpoint_tensor(const std::string& path, const at::Tensor& tensor, const moetrain::Model& model,
                                   const std::string& name, const parallel::Mesh& mesh,
                                   const parallel::ElementRange& owned) {
  const auto found = model.placements().find(name);
  if (mesh.sharding() != parallel::Sharding::kNone) {
    const auto shape = model.named_parameters()[name].sizes().vec();
    const auto all = found == model.placements().end() ? parallel::whole_placement(shape) : found->second;
    return {path, tensor, parallel::part_placement(all, owned, tensor.sizes().vec()), 0, 1};
  }
  if (found == model.placements().end()) return {path, tensor};
  const parallel::Communicator& group = *mesh.replicas(found->second.replicas);
  return {path, tensor, found->second, group.rank(), group.size()};
}

std::vector<optim::NamedTensor> named_parameters(const moetrain::Model& model) {
  std::vector<optim::NamedTensor> all;
  for (const auto& parameter : model.named_parameters()) all.push_back({parameter.key(), parameter.value()});
  return all;
}

std::unique_ptr<parallel::GradientReducer> build_reducer(const Recipe& recipe, const moetrain::Model& model,
                                                         const std::shared_ptr<const parallel::Mesh>& mesh,
                                                         int64_t bucket_bytes) {
  parallel::ReducerOptions options{
      .bucket_bytes = bucket_bytes, .sharding = mesh->sharding(), .schedule = mesh->schedule()};
  const optim::UpdateRule& rule = recipe.update_rule();
  for (const auto& matrices : model.matrices()) options.units.push_back(unit_of(rule, matrices));
  return std::make_unique<parallel::GradientReducer>(model.parameters(), gradient_groups(model, *mesh), options);
}

std::unique_ptr<optim::Optimizer> build_optimizer(const Recipe& recipe, const moetrain::Model& model,
                                                  const parallel::GradientReducer& reducer,
                                                  const optim::Schedule& schedule) {
  const auto matrices = model.matrices();
  std::vector<optim::Parameter> parameters;
  for (const auto& parameter : model.named_parameters()) {
    const size_t i = parameters.size();
    parameters.push_back({parameter.key(), reducer.owned_part(i), matrices[i]});
  }
  return std::make_unique<optim::Optimizer>(std::move(parameters), recipe.optimizer, schedule, recipe.update_rule());
}

std::vector<CheckpointTensor> buffer_tensors(const moetrain::Model& model) {
  std::vector<CheckpointTensor> all;
  for (const auto& buffer : model.named_buffers()) all.push_back({"buffers/" + buffer.key(), buffer.value()});
  return all;
}

std::vector<CheckpointTensor> parameter_tensors(const moetrain::Model& model, bool averaged) {
  std::vector<CheckpointTensor> all;
  const std::string averages = std::string("optimizer/") + optim::Optimizer::kAverage + "/";
  for (const auto& [name, tensor] : named_parameters(model)) all.push_back({"parameters/" + name, tensor});
  for (const auto& [name, tensor] : named_parameters(model)) {
    if (averaged) all.push_back({averages + name, tensor});
  }
  for (CheckpointTensor& buffer : buffer_tensors(model)) all.push_back(std::move(buffer));
  return all;
}

}  // namespace launch
