// A trained model as a folder that Hugging Face `transformers` loads (README.md: what becomes what).
// defines: ExportSource, export_hugging_face
#pragma once
#include <filesystem>
#include <memory>

#include "data/tokenizers/tokenizer.h"
#include "launch/interchange/architecture.h"
#include "launch/interchange/tensor_map.h"

namespace launch::interchange {

/// One whole model. The views must stay valid during the export.
struct ExportSource {
  ModelShape shape;
  ParameterViews parameters;  // in their global shapes; no head.weight where embeddings are tied
  std::shared_ptr<const data::Tokenizer> tokenizer;
};

/// Writes config.json, generation_config.json, model.safetensors and the tokenizer's files (tokenizer_files).
/// The folder appears complete or not at all. A model that transformers cannot represent, a missing, spare or
/// misshapen parameter, and a folder that is not empty are UserErrors, raised before anything is written.
void export_hugging_face(const ExportSource& source, const std::filesystem::path& folder);

}  // namespace launch::interchange

namespace launch {
using interchange::export_hugging_face;
using interchange::ExportSource;
}  // namespace launch
