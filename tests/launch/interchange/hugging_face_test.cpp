#include "launch/interchange/hugging_face.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/launch/interchange/piece_tokenizer.h"
#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

/// An export of tiny_shape(), or of an edited one, and the memory behind its views.
struct TinyExport {
  explicit TinyExport(const ModelShape& shape = tiny_shape()) {
    store.add_all(shape);
    source = {.shape = shape, .parameters = store.views(), .tokenizer = byte_tokenizer("byte", {kEnd})};
  }
  static inline const data::Piece kEnd{.text = "</s>", .kind = data::PieceKind::kControl};
  ParameterStore store;
  ExportSource source;
};

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

TEST(HuggingFace, WritesTheFiveFiles) {
  const TemporaryFolder folder;
  const TinyExport tiny;
  export_hugging_face(tiny.source, folder / "out");
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out")) files.insert(entry.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"config.json", "generation_config.json", "model.safetensors",
                                          "tokenizer.json", "tokenizer_config.json"}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(read_json(folder / "out/config.json")["eos_token_id"], 256);
  EXPECT_EQ(read_json(folder / "out/generation_config.json")["eos_token_id"], 256);
  EXPECT_EQ(read_json(folder / "out/generation_config.json")["pad_token_id"], 256);
}

TEST(HuggingFace, EveryTensorNeededIsInTheFileWithItsShape) {
  for (const std::string layers : {"all", "none", "odd"}) {
    const TemporaryFolder folder;
    ModelShape shape = tiny_shape();
    shape.moe.layers = layers;
    shape.model.tie_embeddings = false;
    const TinyExport tiny(shape);
    export_hugging_face(tiny.source, folder / "out");
    const SafetensorsFile file(folder / "out/model.safetensors");
    const std::vector<TensorRule> rules = rules_of(shape);
    EXPECT_EQ(file.tensors().size(), rules.size());
    for (const TensorRule& rule : rules) EXPECT_EQ(file.tensors().at(rule.target).shape, rule.target_shape);
  }
}

TEST(HuggingFace, TheConfigTellsTheWidestType) {
  const TemporaryFolder folder;
  TinyExport tiny;
  for (auto& [name, view] : tiny.source.parameters) view.dtype = "BF16";
  export_hugging_face(tiny.source, folder / "half");
  EXPECT_EQ(read_json(folder / "half/config.json")["dtype"], "bfloat16");
  tiny.source.parameters["final_norm.weight"].dtype = "F32";
  export_hugging_face(tiny.source, folder / "mixed");
  EXPECT_EQ(read_json(folder / "mixed/config.json")["dtype"], "float32");
}

TEST(HuggingFace, ARefusedModelLeavesNothing) {
  const TemporaryFolder folder;
  TinyExport tiny;
  tiny.source.parameters.erase("final_norm.weight");
  expect_user_error([&] { export_hugging_face(tiny.source, folder / "out"); }, {"final_norm.weight"});
  EXPECT_TRUE(folder.is_empty());
}

TEST(HuggingFace, AFailureHalfWayLeavesNothing) {
  const TemporaryFolder folder;
  TinyExport tiny;
  const std::vector<double> too_large(4, 1e300);
  tiny.source.parameters["final_norm.weight"] = {.dtype = "F64", .shape = {4}, .data = too_large.data()};
  expect_user_error([&] { export_hugging_face(tiny.source, folder / "out"); }, {"final_norm.weight", "1e+300"});
  EXPECT_TRUE(folder.is_empty());
}

TEST(HuggingFace, AFullFolderIsNotTouched) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "out");
  std::ofstream(folder / "out/mine") << "x";
  const TinyExport tiny;
  expect_user_error([&] { export_hugging_face(tiny.source, folder / "out"); }, {"out", "not empty"});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "out"), {}), 1);
}

TEST(HuggingFace, ATokenizerOfAnotherModelIsRefused) {
  const TemporaryFolder folder;
  TinyExport tiny;
  tiny.source.tokenizer = byte_tokenizer("byte", std::vector<data::Piece>(50, TinyExport::kEnd));
  expect_user_error([&] { export_hugging_face(tiny.source, folder / "out"); }, {"306", "300"});
}

}  // namespace
}  // namespace launch::interchange
