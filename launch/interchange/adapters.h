// Adapters on the way out: added to the weights they belong to, or as a folder that the `peft` package loads.
// defines: merge_adapters, export_adapters
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "launch/interchange/hugging_face.h"
#include "moetrain/layers/adapters.h"

namespace launch::interchange {

/// Each adapted weight becomes the sum of it and its adapter, made in at least float32 and kept in `merged`, which must
/// outlive the views; those of the adapters are gone. UserError where a parameter is missing.
void merge_adapters(ParameterViews& parameters, const moetrain::Adapters& adapters, std::vector<at::Tensor>& merged);

/// Writes adapter_config.json and adapter_model.safetensors (float32) of source.parameters' adapters, for the model
/// that `transformers` makes of the base's folder. There the gate and up of all a layer's experts are one parameter, so
/// that what they share is one adapter of twice the rank: A one behind the other, B block by block on a diagonal, as
/// peft makes them of adapters of single experts. base: what adapter_config.json names. The folder appears complete or
/// not at all. UserError for a layer that transformers keeps otherwise.
void export_adapters(const ExportSource& source, const moetrain::Adapters& adapters, const std::string& base,
                     const std::filesystem::path& folder);

}  // namespace launch::interchange
