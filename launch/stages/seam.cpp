#include "launch/stages/seam.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "launch/surgery/recorded_use.h"
#include "optim/optimizer.h"
#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"

namespace launch {
namespace {

bool is_of_model(const CheckpointTensor& tensor) {
  return tensor.path.starts_with("parameters/") || tensor.path.starts_with("buffers/");
}

/// "blocks.0.up" of "parameters/blocks.0.up" and of "optimizer/momentum/blocks.0.up".
std::string name_of(const CheckpointTensor& tensor) {
  const size_t first = tensor.path.find('/') + 1;
  return tensor.path.substr(is_of_model(tensor) ? first : tensor.path.find('/', first) + 1);
}

void fill(const CheckpointTensor& tensor, const MadeTensor& made, TensorMaker& maker) {
  const parallel::Placement place = tensor.place();
  parallel::check_internal(place.global_shape == made.of.shape, "the surgery gives '", made.of.name, "' another shape ",
                           "than it was planned to have");
  at::Tensor own = at::empty(place.local_shape, at::kDouble);
  auto* to = own.mutable_data_ptr<double>();
  for (const parallel::ElementRange& run : place.runs) {
    maker.make(made, run, to);
    to += run.count;
  }
  tensor.tensor.detach().view_as(own).copy_(own);
}

/// Running means begin with the weights that they are means of.
void begin_averages(const std::vector<CheckpointTensor>& tensors,
                    const std::function<bool(const std::string&)>& carried) {
  const std::string averages = std::string("optimizer/") + optim::Optimizer::kAverage + "/";
  std::map<std::string, at::Tensor> weights;
  for (const CheckpointTensor& tensor : tensors) {
    if (tensor.path.starts_with("parameters/")) weights[name_of(tensor)] = tensor.tensor;
  }
  for (const CheckpointTensor& tensor : tensors) {
    const std::string name = name_of(tensor);
    if (tensor.path.starts_with(averages) && !carried(name)) tensor.tensor.detach().copy_(weights.at(name).detach());
  }
}

}  // namespace

Delivery make_offspring(const PlannedStage& stage, Parent parent) {
  const Registry& registry = *stage.before.registry;
  const Operation& operation = registry.operations.at(stage.surgery.operation);
  const std::optional<int64_t> seed = stage.surgery.seed < 0 ? stage.before.run.seed : stage.surgery.seed;
  parent.recipe.run.seed = *seed;
  Delivery delivery;
  delivery.parents.push_back(std::move(parent));
  for (const std::string_view item : parallel::split(stage.surgery.with, ',')) {
    const std::string path(parallel::trimmed(item));
    if (path.empty()) continue;
    if (!operation.several_parents) {
      parallel::user_error("surgery.with = \"", stage.surgery.with, "\": ", stage.surgery.operation,
                           " has one parent; legal: without it");
    }
    delivery.parents.push_back(parent_of(path, open_start(path, stage.before.registry), seed));
  }
  delivery.made = operation.plan(delivery.parents, stage.surgery.own_keys);
  check_offspring(delivery.made, delivery.parents);
  return delivery;
}

bool records_use(const PlannedStage& stage) {
  if (!stage.surgery.any()) return false;
  SurgeryConfig surgery = stage.surgery;
  const Operation& operation = stage.before.registry->operations.at(surgery.operation);
  for (const parallel::Field& field : operation.keys(surgery.own_keys)) {
    const auto* text = std::get_if<std::string*>(&field.value);
    if (field.key == "use" && text != nullptr && **text == kUseOfSeam) return true;
  }
  return false;
}

void operate_on(const Seam& seam, const PlannedStage& stage, const std::vector<CheckpointTensor>& tensors) {
  const Delivery delivery = make_offspring(stage, {.place = seam.weights.string(),
                                                   .recipe = stage.before,
                                                   .tokenizer_hash = seam.tokenizer_hash,
                                                   .weights = open_stored_weights(seam.weights),
                                                   .use = seam.use});
  TensorMaker maker(weights_of(delivery.parents), static_cast<uint64_t>(delivery.made.recipe.run.seed));
  std::map<std::string, const MadeTensor*> made;
  for (const MadeTensor& tensor : delivery.made.tensors) made[tensor.of.name] = &tensor;
  for (const CheckpointTensor& tensor : tensors) {
    if (!is_of_model(tensor)) continue;
    const auto found = made.find(name_of(tensor));
    parallel::check_internal(found != made.end(), "the surgery makes nothing for ", tensor.path);
    fill(tensor, *found->second, maker);
  }
}

void cross_seam(const Seam& seam, const PlannedStage& stage, const std::vector<CheckpointTensor>& tensors,
                const std::function<bool(const std::string& name)>& carried) {
  std::vector<CheckpointTensor> read;
  for (const CheckpointTensor& tensor : tensors) {
    const bool wanted = is_of_model(tensor) ? !stage.surgery.any() : carried(name_of(tensor));
    if (wanted) read.push_back(tensor);
  }
  if (stage.surgery.any()) operate_on(seam, stage, tensors);
  read_checkpoint(seam.weights, read);
  begin_averages(tensors, carried);
}

}  // namespace launch
