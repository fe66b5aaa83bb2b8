// defines: training_bytes, build_reducer, build_optimizer, named_parameters, TrainedParameter,
// trained_parameters, buffer_tensors, training_tensors, parameter_tensors
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe_model.h"
#include "moetrain/models/model.h"
#include "optim/optimizer.h"
#include "parallel/gradients/gradient_reducer.h"

namespace launch {

/// Bytes that rank `rank` of `ranks` needs for weights, gradients and optimizer state; activations come on top.
int64_t training_bytes(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank);

/// The reducer of the gradients of what is trained, cut as the recipe's update rule allows. The model must outlive it.
std::unique_ptr<parallel::GradientReducer> build_reducer(const Recipe& recipe, const moetrain::Model& model,
                                                         const std::shared_ptr<const parallel::Mesh>& mesh,
                                                         int64_t bucket_bytes = parallel::kBucketBytes);

/// The optimizer of what this rank updates of each trained parameter: all of it, or with sharding the part that it
/// owns. begun: by a parameter's name optim::Parameter::begun; null: 0 for all.
std::unique_ptr<optim::Optimizer> build_optimizer(const Recipe& recipe, const moetrain::Model& model,
                                                  const parallel::GradientReducer& reducer,
                                                  const optim::Schedule& schedule,
                                                  const std::function<int64_t(const std::string&)>& begun = {});

/// The model's parameters by their global names, in the order in which they were registered.
std::vector<optim::NamedTensor> named_parameters(const moetrain::Model& model);

/// Those that are not frozen, in the same order, which is that of reducer and optimizer.
struct TrainedParameter {
  std::string name;
  at::Tensor tensor;
  std::optional<parallel::MatrixParts> matrices = {};  // Model::matrices
};
std::vector<TrainedParameter> trained_parameters(const moetrain::Model& model);

/// What a model carries besides its weights, changed after updates and not by gradients (a router's bias).
std::vector<CheckpointTensor> buffer_tensors(const moetrain::Model& model);

/// A training's whole state as datasets, each this rank's part: master weights, of what is frozen the model's own,
/// optimizer state and buffers.
std::vector<CheckpointTensor> training_tensors(const moetrain::Model& model, const parallel::GradientReducer& reducer,
                                               const optim::Optimizer& optimizer, const parallel::Mesh& mesh);

/// The model's weights, or over them their running means (optimizer.average), and buffers as datasets
/// of a checkpoint. For loading into a model that is not trained further; a
/// trained one's weights are its optimizer's masters.
std::vector<CheckpointTensor> parameter_tensors(const moetrain::Model& model, bool averaged = false);

}  // namespace launch
