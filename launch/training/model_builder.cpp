#include "launch/training/model_builder.h"

#include "moetrain/models/models.h"
#include "parallel/base/name_table.h"

namespace launch {

at::ScalarType dtype_of(const std::string& precision) {
  return parallel::NameTable<at::ScalarType>(
             "precision", {{"float32", at::kFloat}, {"bf16", at::kBFloat16}, {"float64", at::kDouble}})
      .at(precision);
}

std::shared_ptr<moetrain::Model> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device) {
  const auto options = at::TensorOptions(dtype_of(recipe.run.precision)).device(device);
  const moetrain::ParameterSource source(static_cast<uint64_t>(recipe.run.seed), options);
  return moetrain::builtin_models().at(recipe.model.kind)(
      {recipe.model, recipe.moe, vocabulary, source, moetrain::builtin_routers()});
}

int64_t training_bytes(const Recipe& recipe, int64_t vocabulary) {
  const auto type = dtype_of(recipe.run.precision);
  const int64_t wide = type == at::kDouble ? 8 : 4;
  const int64_t master = type == at::kBFloat16 ? wide : 0;
  const int64_t each = static_cast<int64_t>(c10::elementSize(type)) + master + /*gradient, two moments*/ 3 * wide;
  return build_model(recipe, vocabulary, at::kMeta)->parameter_count().total * each;
}

std::vector<optim::NamedTensor> named_parameters(const moetrain::Model& model) {
  std::vector<optim::NamedTensor> all;
  for (const auto& parameter : model.named_parameters()) all.push_back({parameter.key(), parameter.value()});
  return all;
}

std::vector<CheckpointTensor> buffer_tensors(const moetrain::Model& model) {
  std::vector<CheckpointTensor> all;
  for (const auto& buffer : model.named_buffers()) all.push_back({"buffers/" + buffer.key(), buffer.value()});
  return all;
}

std::vector<CheckpointTensor> parameter_tensors(const moetrain::Model& model) {
  std::vector<CheckpointTensor> all;
  for (const auto& [name, tensor] : named_parameters(model)) all.push_back({"parameters/" + name, tensor});
  for (CheckpointTensor& buffer : buffer_tensors(model)) all.push_back(std::move(buffer));
  return all;
}

}  // namespace launch
