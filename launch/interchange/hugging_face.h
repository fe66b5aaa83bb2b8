// A model as a folder that Hugging Face `transformers` loads (README.md: what becomes what).
// defines: ParameterViews, ExportSource, family_of, check_complete, tensors_to_write, export_hugging_face
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizers/tokenizer.h"
#include "launch/interchange/family.h"
#include "launch/interchange/tensors/safetensors.h"

namespace launch::interchange {

/// moetrain's name -> tensor. float64 is written as F32, the others as they are.
using ParameterViews = std::map<std::string, TensorView>;

/// One whole model. The views must stay valid during the export.
struct ExportSource {
  ModelShape shape;
  ParameterViews parameters;                         // in their global shapes; no head.weight where embeddings are tied
  std::shared_ptr<const data::Tokenizer> tokenizer;  // null: none is written
  /// By name: files that the model came in with, and whose keys go out again where the family is the same: config.json
  /// and generation_config.json.
  std::map<std::string, std::string> came_with = {};
  std::string chat_template = {};       // Jinja, of a run that was trained on conversations with a tokenizer made here
  int64_t answer_end = -1;              // the token that ends its answers; -1: none but the end of text
  std::string dtype = {};               // "F32", "F16", "BF16" of all that is written; empty: as it is, F64 as F32
  int64_t shard_bytes = 5'000'000'000;  // of one safetensors file; more than one have an index
};

/// That which the model came in as, where it still is one; else the first that has such a model.
const Family& family_of(const ExportSource& source);

/// A parameter that a rule needs and is missing, that has another shape or dtype, or that no rule uses, is a UserError
/// that names it.
void check_complete(const std::vector<TensorRule>& rules, const ParameterViews& parameters);

/// @pre check_complete(rules, parameters). Views are read when the tensors are filled.
/// `dtype`: as ExportSource's.
std::vector<TensorToWrite> tensors_to_write(const std::vector<TensorRule>& rules, const ParameterViews& parameters,
                                            const std::string& dtype = {});

/// Writes config.json, generation_config.json, the safetensors and the tokenizer's files (tokenizer_files).
/// The folder appears complete or not at all. A model that transformers cannot represent, a missing, spare or
/// misshapen parameter, and a folder that is not empty are UserErrors, raised before anything is written.
void export_hugging_face(const ExportSource& source, const std::filesystem::path& folder);

}  // namespace launch::interchange

namespace launch {
using interchange::export_hugging_face;
using interchange::ExportSource;
}  // namespace launch
