#include "launch/interchange/hugging_face.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "launch/interchange/output_folder.h"
#include "launch/interchange/tensors/tensor_copy.h"
#include "launch/interchange/tokenizer_file.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

/// transformers loads a whole model in one type: the widest of those written, so that nothing is rounded.
std::string config_dtype(const std::vector<TensorToWrite>& tensors) {
  const auto all = [&](const char* dtype) {
    return std::ranges::all_of(tensors,
                               [&](const TensorToWrite& tensor) { return tensor.dtype == dtype || !tensor.weight; });
  };
  return all("BF16") ? "bfloat16" : all("F16") ? "float16" : "float32";
}

void check_tokenizer(const ExportSource& source) {
  const int64_t tokens = source.tokenizer->vocabulary_size();
  if (tokens > source.shape.vocabulary_size) {
    parallel::user_error("the tokenizer has ", tokens, " tokens, the model's embedding has ",
                         source.shape.vocabulary_size, " rows: they do not belong together");
  }
}

/// Whether a config.json says this model, so that it can go out as it came.
bool says(const Json& config, const ExportSource& source, const Family& family) {
  try {
    const ModelShape read = shape_from(family, config, "config.json");
    return read.vocabulary_size == source.shape.vocabulary_size &&
           said_of(canonical(read)) == said_of(canonical(source.shape));
  } catch (const parallel::UserError&) {  // of an older program
    return false;
  }
}

/// What an encoder's decoder begins with, and what batches are filled up with.
void set_decoder_tokens(Json& config, const ExportSource& source) {
  const moetrain::ModelConfig& model = source.shape.model;
  if (model.encoder_layers == 0) return;
  const int64_t end_of_text = source.tokenizer->end_of_text();
  config["decoder_start_token_id"] = model.start_token >= 0 ? model.start_token : end_of_text;
  config["pad_token_id"] = end_of_text;
}

/// As the model came in where it is the same still; else what the family says of it.
Json config_with(const ExportSource& source, const Family& family, const std::string& dtype) {
  const auto came = source.came_with.find("config.json");
  if (came != source.came_with.end()) {
    Json config = parse_json_object(came->second, "the config.json that the model came with");
    config.erase("quantization_config");  // what is written is plain
    config.erase("torch_dtype");          // as versions before 5 spelt it
    config["dtype"] = dtype;
    if (config.value("model_type", "") == family.model_type && says(config, source, family)) return config;
  }
  Json config = config_of(family, source.shape);
  if (source.tokenizer != nullptr) {
    config["bos_token_id"] = source.tokenizer->end_of_text();  // what stands before the first document
    config["eos_token_id"] = source.tokenizer->end_of_text();
    set_decoder_tokens(config, source);
  }
  config["attention_dropout"] = 0.0;
  config["dtype"] = dtype;
  return config;
}

std::string generation_config(const ExportSource& source) {
  const auto came = source.came_with.find("generation_config.json");
  if (came != source.came_with.end()) return came->second;
  if (source.tokenizer == nullptr) return "";
  const int64_t end_of_text = source.tokenizer->end_of_text();
  Json ends = end_of_text;
  if (source.answer_end >= 0 && source.answer_end != end_of_text) ends = {end_of_text, source.answer_end};
  Json config = {
      {"bos_token_id", end_of_text}, {"eos_token_id", ends}, {"pad_token_id", end_of_text}, {"do_sample", false}};
  set_decoder_tokens(config, source);
  return config.dump(2) + "\n";
}

int64_t bytes_of(const TensorToWrite& tensor) { return element_count(tensor.shape) * element_bytes(tensor.dtype); }

/// One file, or as many as shards of `shard_bytes` make, with an index.
void write_tensors(const OutputFolder& output, const std::vector<TensorToWrite>& tensors, int64_t shard_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  int64_t filled = 0, total = 0;
  for (const TensorToWrite& tensor : tensors) {
    const int64_t bytes = bytes_of(tensor);
    if (filled > 0 && filled + bytes > shard_bytes) shards.emplace_back(), filled = 0;
    shards.back().push_back(tensor);
    filled += bytes, total += bytes;
  }
  if (shards.size() == 1) return write_safetensors(output.path("model.safetensors"), tensors);
  LargeJson map = LargeJson::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_safetensors(output.path(name), shards[i]);
    for (const TensorToWrite& tensor : shards[i]) map[tensor.name] = name;
  }
  const LargeJson index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  output.write_text("model.safetensors.index.json", index.dump(2) + "\n");
}

void check_parameter(const TensorRule& rule, const ParameterViews& parameters) {
  const auto found = parameters.find(rule.source);
  if (found == parameters.end()) {
    parallel::user_error("parameter '", rule.source, "' is missing: the export needs it, with shape ",
                         shape_text(rule.source_shape), ", for '", rule.target, "'");
  }
  const TensorView& view = found->second;
  if (view.shape != rule.source_shape) {
    parallel::user_error("parameter '", rule.source, "' has shape ", shape_text(view.shape), "; the recipe makes it ",
                         shape_text(rule.source_shape));
  }
  if (view.dtype != "F32" && view.dtype != "BF16" && view.dtype != "F16" && view.dtype != "F64") {
    parallel::user_error("parameter '", rule.source, "' is of type ", view.dtype, "; legal: F64, F32, F16, BF16");
  }
}

}  // namespace

const Family& family_of(const ExportSource& source) {
  const auto came = source.came_with.find("config.json");
  if (came == source.came_with.end()) return family_for(source.shape);
  const std::string place = "the config.json that the model came with";
  const Family& family = family_named(parse_json_object(came->second, place), place);
  return holds(family, source.shape) ? family : family_for(source.shape);
}

void check_complete(const std::vector<TensorRule>& rules, const ParameterViews& parameters) {
  for (const TensorRule& rule : rules) {
    if (!rule.source.empty()) check_parameter(rule, parameters);
  }
  const RuleMap used = rules_by_source(rules);
  for (const auto& [name, view] : parameters) {
    if (used.contains(name)) continue;
    parallel::user_error("parameter '", name, "' ", shape_text(view.shape),
                         " is spare: a model of this recipe has none of that name");
  }
}

std::vector<TensorToWrite> tensors_to_write(const std::vector<TensorRule>& rules, const ParameterViews& parameters,
                                            const std::string& wanted) {
  const RuleMap by_target = rules_by_target(rules);
  std::vector<TensorToWrite> tensors;
  std::set<std::string> listed;
  for (const TensorRule& first : rules) {
    if (first.again == Again::kAccepted || !listed.insert(first.target).second) continue;
    // Zeros take the type of the embedding, which every model has.
    const std::string& dtype = parameters.at(first.source.empty() ? "embedding.weight" : first.source).dtype;
    const std::string kept = dtype == "F64" ? "F32" : dtype;  // and what is no weight keeps its type
    TensorToWrite tensor{.name = first.target,
                         .dtype = wanted.empty() || first.buffer ? kept : wanted,
                         .shape = first.target_shape,
                         .fill = {},
                         .weight = !first.buffer};
    std::vector<std::pair<TensorRule, TensorView>> parts;
    for (const TensorRule* rule : by_target.at(first.target)) {
      parts.emplace_back(*rule, rule->source.empty() ? TensorView() : parameters.at(rule->source));
    }
    tensor.fill = [parts, written = tensor.dtype](std::span<std::byte> bytes) {
      for (const auto& [rule, view] : parts) write_block(rule, view, written, bytes);
    };
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

void export_hugging_face(const ExportSource& source, const std::filesystem::path& folder) {
  if (source.tokenizer != nullptr) check_tokenizer(source);
  const Family& family = family_of(source);
  TensorRules collected;
  family.tensors(collected, source.shape);
  const std::vector<TensorRule> rules = collected.take();
  check_complete(rules, source.parameters);
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules, source.parameters, source.dtype);
  const std::string config = config_with(source, family, config_dtype(tensors)).dump(2) + "\n";
  std::map<std::string, std::string> texts = {{"config.json", config},
                                              {"generation_config.json", generation_config(source)}};
  if (source.tokenizer != nullptr) {
    for (const auto& [name, content] :
         tokenizer_files(*source.tokenizer, source.shape.sequence_length, source.chat_template)) {
      texts[name] = content;
    }
  }
  OutputFolder output(folder);
  for (const auto& [name, text] : texts) {
    if (!text.empty()) output.write_text(name, text);
  }
  write_tensors(output, tensors, source.shard_bytes);
  output.commit();
}

}  // namespace launch::interchange
