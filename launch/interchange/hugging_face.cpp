#include "launch/interchange/hugging_face.h"

#include <algorithm>
#include <string>
#include <vector>

#include "launch/interchange/output_folder.h"
#include "launch/interchange/tokenizer_file.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

/// transformers loads a whole model in one type: the widest of those written, so that nothing is rounded.
std::string config_dtype(const std::vector<TensorToWrite>& tensors) {
  const bool all_bfloat16 =
      std::all_of(tensors.begin(), tensors.end(), [](const TensorToWrite& tensor) { return tensor.dtype == "BF16"; });
  return all_bfloat16 ? "bfloat16" : "float32";
}

void check_tokenizer(const ExportSource& source) {
  const int64_t tokens = source.tokenizer->vocabulary_size();
  if (tokens > source.shape.vocabulary_size) {
    parallel::user_error("the tokenizer has ", tokens, " tokens, the model's embedding has ",
                         source.shape.vocabulary_size, " rows: they do not belong together");
  }
}

}  // namespace

void export_hugging_face(const ExportSource& source, const std::filesystem::path& folder) {
  check_tokenizer(source);
  const std::vector<TensorRule> rules = tensor_rules(source.shape);
  check_complete(rules, source.parameters);
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules, source.parameters);
  const data::Tokenizer& tokenizer = *source.tokenizer;
  const auto files = tokenizer_files(tokenizer, source.shape.sequence_length);

  OutputFolder output(folder);
  output.write_text("config.json", config_json(source.shape, tokenizer.end_of_text(), config_dtype(tensors)));
  output.write_text("generation_config.json", generation_config_json(tokenizer.end_of_text()));
  for (const auto& [name, content] : files) output.write_text(name, content);
  write_safetensors(output.path("model.safetensors"), tensors);
  output.commit();
}

}  // namespace launch::interchange
