#include "launch/training/model_builder.h"

#include "parallel/base/name_table.h"

namespace launch {

at::ScalarType dtype_of(const std::string& precision) {
  return parallel::NameTable<at::ScalarType>(
             "precision", {{"float32", at::kFloat}, {"bf16", at::kBFloat16}, {"float64", at::kDouble}})
      .at(precision);
}

std::shared_ptr<moetrain::DecoderLm> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device) {
  const auto options = at::TensorOptions(dtype_of(recipe.run.precision)).device(device);
  const moetrain::ParameterSource source(static_cast<uint64_t>(recipe.run.seed), options);
  return std::make_shared<moetrain::DecoderLm>(recipe.model, recipe.moe, vocabulary, source,
                                               moetrain::builtin_routers());
}

std::vector<optim::NamedTensor> named_parameters(const moetrain::DecoderLm& model) {
  std::vector<optim::NamedTensor> all;
  for (const auto& parameter : model.named_parameters()) all.push_back({parameter.key(), parameter.value()});
  return all;
}

std::vector<CheckpointTensor> parameter_tensors(const moetrain::DecoderLm& model) {
  std::vector<CheckpointTensor> all;
  for (const auto& [name, tensor] : named_parameters(model)) all.push_back({"parameters/" + name, tensor});
  return all;
}

}  // namespace launch
