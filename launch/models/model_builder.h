// defines: build_model, training_bytes, build_reducer, build_optimizer, named_parameters, checkpoint_tensor,
// buffer_tensors, parameter_tensors
#pragma once
#include <memory>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/precision.h"
#include "launch/recipe/recipe.h"
#include "moetrain/models/model.h"
#include "optim/optimizer.h"
#include "parallel/gradients/gradient_reducer.h"

namespace launch {

/// The model of a recipe with its initial weights, on `device`; of one that is spread over a mesh this rank's part.
/// UserError where it cannot be laid out so.
std::shared_ptr<moetrain::Model> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device,
                                             std::shared_ptr<const parallel::Mesh> mesh = nullptr);

/// Bytes that rank `rank` of `ranks` needs for weights, gradients and optimizer state; activations come on top.
int64_t training_bytes(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank);

/// The reducer of a model's gradients, cut as the recipe's update rule allows. The model must outlive it.
std::unique_ptr<parallel::GradientReducer> build_reducer(const Recipe& recipe, const moetrain::Model& model,
                                                         const std::shared_ptr<const parallel::Mesh>& mesh,
                                                         int64_t bucket_bytes = parallel::kBucketBytes);

/// The optimizer of what this rank updates of each parameter: all of it, or with sharding the part that it owns.
std::unique_ptr<optim::Optimizer> build_optimizer(const Recipe& recipe, const moetrain::Model& model,
                                                  const parallel::GradientReducer& reducer,
                                                  const optim::Schedule& schedule);

/// A dataset for a tensor that is laid out as what this rank owns of the parameter number `index`, called `name`: its
/// master weights, a moment.
CheckpointTensor checkpoint_tensor(const std::string& path, const at::Tensor& tensor, const moetrain::Model& model,
                                   const std::string& name, const parallel::Mesh& mesh,
                                   const parallel::ElementRange& owned);

/// The model's parameters by their global names, in the order in which they were registered.
std::vector<optim::NamedTensor> named_parameters(const moetrain::Model& model);

/// What a model carries besides its weights, changed after updates and not by gradients (a router's bias).
std::vector<CheckpointTensor> buffer_tensors(const moetrain::Model& model);

/// The model's weights, or over them their running means (optimizer.average), and buffers as datasets
/// of a checkpoint. For loading into a model that is not trained further; a
/// trained one's weights are its optimizer's masters.
std::vector<CheckpointTensor> parameter_tensors(const moetrain::Model& model, bool averaged = false);

}  // namespace launch
