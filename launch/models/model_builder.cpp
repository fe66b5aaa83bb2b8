#include "launch/models/model_builder.h"

#include <map>
#include <utility>

#include "launch/planning/memory_model.h"

namespace launch {

namespace {

parallel::Replicas replicas_of(const moetrain::Model& model, const std::string& name) {
  const auto found = model.placements().find(name);
  return found == model.placements().end() ? parallel::Replicas::kWorld : found->second.replicas;
}

/// The ranks over which each trained parameter's gradient is summed.
std::vector<std::shared_ptr<parallel::Communicator>> gradient_groups(const moetrain::Model& model,
                                                                     const parallel::Mesh& mesh) {
  std::vector<std::shared_ptr<parallel::Communicator>> groups;
  for (const auto& parameter : trained_parameters(model)) {
    groups.push_back(mesh.replicas(replicas_of(model, parameter.name)));
  }
  return groups;
}

/// A dataset for a tensor that is laid out as what this rank owns of the parameter `name`: its master weights, a
/// moment. owned: none of a frozen parameter, which lies as the model has it.
CheckpointTensor checkpoint_tensor(const std::string& path, const at::Tensor& tensor, const moetrain::Model& model,
                                   const std::string& name, const parallel::Mesh& mesh,
                                   const std::optional<parallel::ElementRange>& owned) {
  const auto found = model.placements().find(name);
  if (owned && mesh.sharding() != parallel::Sharding::kNone) {
    const auto shape = model.named_parameters()[name].sizes().vec();
    const auto all = found == model.placements().end() ? parallel::whole_placement(shape) : found->second;
    return {path, tensor, parallel::part_placement(all, *owned, tensor.sizes().vec()), 0, 1};
  }
  if (found == model.placements().end()) return {path, tensor};
  const parallel::Communicator& group = *mesh.replicas(found->second.replicas);
  return {path, tensor, found->second, group.rank(), group.size()};
}

}  // namespace

int64_t training_bytes(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank) {
  return state_memory(recipe, count_parameters(recipe, vocabulary, ranks, rank)).total();
}

std::vector<optim::NamedTensor> named_parameters(const moetrain::Model& model) {
  std::vector<optim::NamedTensor> all;
  for (const auto& parameter : model.named_parameters()) all.push_back({parameter.key(), parameter.value()});
  return all;
}

std::vector<TrainedParameter> trained_parameters(const moetrain::Model& model) {
  const auto matrices = model.matrices();
  std::vector<TrainedParameter> all;
  size_t i = 0;
  for (const auto& parameter : model.named_parameters()) {
    if (parameter.value().requires_grad()) all.push_back({parameter.key(), parameter.value(), matrices[i]});
    ++i;
  }
  return all;
}

std::unique_ptr<parallel::GradientReducer> build_reducer(const Recipe& recipe, const moetrain::Model& model,
                                                         const std::shared_ptr<const parallel::Mesh>& mesh,
                                                         int64_t bucket_bytes) {
  parallel::ReducerOptions options{
      .bucket_bytes = bucket_bytes, .sharding = mesh->sharding(), .schedule = mesh->schedule()};
  const optim::UpdateRule& rule = recipe.update_rule();
  std::vector<at::Tensor> trained;
  for (const TrainedParameter& parameter : trained_parameters(model)) {
    options.units.push_back(unit_of(rule, parameter.matrices));
    trained.push_back(parameter.tensor);
  }
  return std::make_unique<parallel::GradientReducer>(trained, gradient_groups(model, *mesh), options);
}

std::unique_ptr<optim::Optimizer> build_optimizer(const Recipe& recipe, const moetrain::Model& model,
                                                  const parallel::GradientReducer& reducer,
                                                  const optim::Schedule& schedule,
                                                  const std::function<int64_t(const std::string&)>& begun) {
  const std::vector<TrainedParameter> trained = trained_parameters(model);
  std::vector<std::string> names;
  for (const TrainedParameter& each : trained) names.push_back(each.name);
  const std::vector<double> factors = learning_rate_factors(recipe, names);
  std::vector<optim::Parameter> parameters;
  for (size_t i = 0; i < trained.size(); ++i) {
    parameters.push_back(
        {names[i], reducer.owned_part(i), trained[i].matrices, factors[i], begun ? begun(names[i]) : 0});
  }
  return std::make_unique<optim::Optimizer>(std::move(parameters), recipe.optimizer, schedule, recipe.update_rule());
}

std::vector<CheckpointTensor> buffer_tensors(const moetrain::Model& model) {
  std::vector<CheckpointTensor> all;
  for (const auto& buffer : model.named_buffers()) all.push_back({"buffers/" + buffer.key(), buffer.value()});
  return all;
}

std::vector<CheckpointTensor> training_tensors(const moetrain::Model& model, const parallel::GradientReducer& reducer,
                                               const optim::Optimizer& optimizer, const parallel::Mesh& mesh) {
  std::vector<CheckpointTensor> tensors;
  std::map<std::string, size_t> number;  // of those that are trained
  for (const TrainedParameter& parameter : trained_parameters(model)) number.emplace(parameter.name, number.size());
  const auto add = [&](const std::string& path, const at::Tensor& tensor, const std::string& name) {
    const auto found = number.find(name);
    const auto owned = found == number.end() ? std::nullopt : std::optional(reducer.owned(found->second));
    tensors.push_back(checkpoint_tensor(path, tensor, model, name, mesh, owned));
  };
  for (const auto& [name, tensor] : optimizer.masters()) add("parameters/" + name, tensor, name);
  for (const auto& [name, tensor] : named_parameters(model)) {
    if (!number.contains(name)) add("parameters/" + name, tensor, name);
  }
  for (const auto& [slot, name, tensor] : optimizer.state()) add("optimizer/" + slot + "/" + name, tensor, name);
  for (CheckpointTensor& buffer : buffer_tensors(model)) tensors.push_back(std::move(buffer));
  return tensors;
}

std::vector<CheckpointTensor> parameter_tensors(const moetrain::Model& model, bool averaged) {
  std::vector<CheckpointTensor> all;
  const std::string averages = std::string("optimizer/") + optim::Optimizer::kAverage + "/";
  for (const auto& [name, tensor] : named_parameters(model)) all.push_back({"parameters/" + name, tensor});
  for (const auto& [name, tensor] : named_parameters(model)) {
    if (averaged && tensor.requires_grad()) all.push_back({averages + name, tensor});
  }
  for (CheckpointTensor& buffer : buffer_tensors(model)) all.push_back(std::move(buffer));
  return all;
}

}  // namespace launch
