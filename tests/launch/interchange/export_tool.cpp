// Exports a model that export_check.py made: `export_tool SPEC.json PARAMETERS.safetensors OUT`.
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/interchange/hugging_face.h"
#include "launch/interchange/tensors/safetensors.h"
#include "parallel/base/fault.h"
#include "tests/launch/interchange/piece_tokenizer.h"

namespace {

using Json = nlohmann::json;

/// Sets the config fields that the JSON object names.
struct JsonFields {
  const Json& object;
  template <class Field>
  void operator()(const char* name, Field& field, const parallel::Legal&, const char*) {
    if (object.contains(name)) field = object[name].get<Field>();
  }
  template <class E>
  void operator()(const char* name, parallel::Enum<E>& field, const parallel::Legal&, const char*) {
    if (object.contains(name)) field = object[name].get<std::string>();
  }
  void operator()(const char* name, parallel::Weight& field, const parallel::Legal&, const char*) {
    if (object.contains(name)) field = object[name].get<double>();
  }
};

std::shared_ptr<const data::Tokenizer> read_tokenizer(const Json& spec) {
  const std::map<std::string, data::PieceKind> kinds = {{"normal", data::PieceKind::kNormal},
                                                        {"byte", data::PieceKind::kByte},
                                                        {"control", data::PieceKind::kControl},
                                                        {"unknown", data::PieceKind::kUnknown}};
  std::vector<data::Piece> pieces;
  for (const Json& piece : spec.at("pieces")) {
    pieces.push_back({.text = piece.at(0), .score = piece.at(1), .kind = kinds.at(piece.at(2))});
  }
  return std::make_shared<launch::interchange::PieceTokenizer>(spec.at("kind"), std::move(pieces),
                                                               spec.at("end_of_text"));
}

void export_model(const std::string& spec_path, const std::string& parameters_path, const std::string& folder) {
  std::ifstream spec_file(spec_path);
  const Json spec = Json::parse(spec_file);
  launch::ExportSource source;
  JsonFields model_fields{spec.at("model")};
  visit(source.shape.model, model_fields);
  JsonFields moe_fields{spec.at("moe")};
  visit(source.shape.moe, moe_fields);
  source.shape.vocabulary_size = spec.at("vocabulary_size");
  source.shape.sequence_length = spec.at("sequence_length");
  source.tokenizer = read_tokenizer(spec.at("tokenizer"));
  launch::interchange::SafetensorsFile parameters(parameters_path);
  for (const auto& [name, tensor] : parameters.tensors()) {
    source.parameters[name] = parameters.view(name);
  }
  launch::export_hugging_face(source, folder);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: export_tool SPEC.json PARAMETERS.safetensors OUT\n";
    return 1;
  }
  try {
    export_model(argv[1], argv[2], argv[3]);
  } catch (const parallel::UserError& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
