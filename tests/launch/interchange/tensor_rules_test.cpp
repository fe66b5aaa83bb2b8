#include "launch/interchange/tensors/tensor_rules.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>

#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

using Shape = std::vector<int64_t>;

/// The parameters of tiny_shape(), written down by hand.
ParameterStore tiny_parameters() {
  ParameterStore store;
  store.add("embedding.weight", {300, 4});
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    store.add(block + "attention_norm.weight", {4});
    store.add(block + "attention.query.weight", {4, 4});
    store.add(block + "attention.key.weight", {2, 4});
    store.add(block + "attention.value.weight", {2, 4});
    store.add(block + "attention.output.weight", {4, 4});
    store.add(block + "ffn_norm.weight", {4});
    store.add(block + "moe.router.weight", {3, 4});
    store.add(block + "moe.experts.gate", {3, 4, 5});
    store.add(block + "moe.experts.up", {3, 4, 5});
    store.add(block + "moe.experts.down", {3, 5, 4});
  }
  store.add("final_norm.weight", {4});
  return store;
}

const TensorToWrite& named(const std::vector<TensorToWrite>& tensors, const std::string& name) {
  for (const TensorToWrite& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range(name);
}

template <class Element>
std::vector<Element> elements(const TensorToWrite& tensor) {
  std::vector<Element> values(static_cast<size_t>(element_count(tensor.shape)), Element{77});
  tensor.fill(std::as_writable_bytes(std::span(values)));
  return values;
}

TEST(TensorRules, AModelByHandIsComplete) {
  ParameterStore store = tiny_parameters();
  EXPECT_NO_THROW(check_complete(rules_of(tiny_shape()), store.views()));
}

TEST(TensorRules, NoTensorIsWrittenTwice) {
  ModelShape shape = tiny_shape();
  shape.model.tie_embeddings = false;
  shape.moe.layers = "odd";
  shape.moe.shared_hidden = 7;
  std::set<std::string> targets;
  for (const TensorRule& rule : rules_of(shape)) EXPECT_TRUE(targets.insert(rule.target).second) << rule.target;
  EXPECT_TRUE(targets.contains("lm_head.weight"));
  EXPECT_TRUE(targets.contains("model.layers.0.mlp.gate_proj.weight"));
  EXPECT_TRUE(targets.contains("model.layers.1.mlp.experts.2.down_proj.weight"));
  EXPECT_TRUE(targets.contains("model.layers.1.mlp.shared_expert_gate.weight"));
}

TEST(TensorRules, AMissingParameterIsNamed) {
  ParameterStore complete = tiny_parameters();
  for (const auto& [name, view] : complete.views()) {
    ParameterStore store = tiny_parameters();
    store.views().erase(name);
    expect_user_error([&] { check_complete(rules_of(tiny_shape()), store.views()); },
                      {"'" + name + "'", "is missing", shape_text(view.shape)});
  }
}

TEST(TensorRules, ASpareParameterIsNamed) {
  for (const std::string name : {"head.weight", "blocks.2.ffn_norm.weight", "blocks.0.moe.shared.up.weight", ""}) {
    ParameterStore store = tiny_parameters();
    store.add(name, {4, 9});
    expect_user_error([&] { check_complete(rules_of(tiny_shape()), store.views()); },
                      {"'" + name + "'", "[4, 9]", "is spare"});
  }
}

TEST(TensorRules, AMisshapenParameterIsNamedWithBothShapes) {
  ParameterStore complete = tiny_parameters();
  for (const auto& [name, view] : complete.views()) {
    ParameterStore store = tiny_parameters();
    Shape wrong = view.shape;
    ++wrong.back();
    store.add(name, wrong);
    expect_user_error([&] { check_complete(rules_of(tiny_shape()), store.views()); },
                      {"'" + name + "'", shape_text(wrong), shape_text(view.shape)});
  }
}

TEST(TensorRules, AnIntegerParameterIsRefused) {
  ParameterStore store = tiny_parameters();
  store.views()["final_norm.weight"].dtype = "I64";
  expect_user_error([&] { check_complete(rules_of(tiny_shape()), store.views()); }, {"'final_norm.weight'", "I64"});
}

TEST(TensorRules, AnExpertIsItsSliceTransposed) {
  ParameterStore store = tiny_parameters();
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules_of(tiny_shape()), store.views());
  const std::map<std::string, std::string> projections = {{"w1", "gate"}, {"w3", "up"}, {"w2", "down"}};
  for (const auto& [target, source] : projections) {
    const TensorToWrite& tensor = named(tensors, "model.layers.1.block_sparse_moe.experts.2." + target + ".weight");
    const int64_t rows = source == "down" ? 5 : 4;
    const int64_t columns = source == "down" ? 4 : 5;
    ASSERT_EQ(tensor.shape, (Shape{columns, rows}));
    const std::vector<float> written = elements<float>(tensor);
    const std::vector<float>& all = store.values("blocks.1.moe.experts." + source);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        EXPECT_EQ(written[static_cast<size_t>(column * rows + row)],
                  all[static_cast<size_t>((2 * rows + row) * columns + column)]);
      }
    }
  }
}

TEST(TensorRules, TransposingIsRightBeyondOneTile) {
  ModelShape shape = tiny_shape();
  shape.model.width = 132;
  shape.moe.hidden = 67;
  ParameterStore store;
  store.add_all(shape);
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules_of(shape), store.views());
  const auto written = elements<float>(named(tensors, "model.layers.0.block_sparse_moe.experts.1.w1.weight"));
  const std::vector<float>& all = store.values("blocks.0.moe.experts.gate");
  for (size_t row = 0; row < 132; ++row) {
    for (size_t column = 0; column < 67; ++column) {
      ASSERT_EQ(written[column * 132 + row], all[(132 + row) * 67 + column]);
    }
  }
}

TEST(TensorRules, DenseTensorsAreCopied) {
  ParameterStore store = tiny_parameters();
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules_of(tiny_shape()), store.views());
  EXPECT_EQ(elements<float>(named(tensors, "model.layers.0.self_attn.k_proj.weight")),
            store.values("blocks.0.attention.key.weight"));
  EXPECT_EQ(elements<float>(named(tensors, "model.norm.weight")), store.values("final_norm.weight"));
}

TEST(TensorRules, AMissingSharedExpertIsAllZeros) {
  ModelShape shape = tiny_shape();
  shape.moe.gate = "raw";
  ParameterStore store = tiny_parameters();
  const std::vector<TensorRule> rules = rules_of(shape);
  check_complete(rules, store.views());
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules, store.views());
  for (const std::string name : {"shared_expert.gate_proj", "shared_expert.down_proj", "shared_expert_gate"}) {
    for (const float value : elements<float>(named(tensors, "model.layers.0.mlp." + name + ".weight"))) {
      EXPECT_EQ(value, 0.0f) << name;
    }
  }
}

TEST(TensorRules, AnUngatedSharedExpertIsDoubledBehindAHalfOpenGate) {
  ModelShape shape = tiny_shape();
  shape.moe.shared_hidden = 7;
  shape.moe.shared_gate = false;
  ParameterStore store;
  store.add_all(shape);
  EXPECT_FALSE(store.views().contains("blocks.0.moe.shared_gate.weight"));
  const std::vector<TensorToWrite> tensors = tensors_to_write(rules_of(shape), store.views());
  const auto written = elements<float>(named(tensors, "model.layers.0.mlp.shared_expert.down_proj.weight"));
  const std::vector<float>& trained = store.values("blocks.0.moe.shared.down.weight");
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_EQ(written[i], 2 * trained[i]);
  EXPECT_EQ(elements<float>(named(tensors, "model.layers.0.mlp.shared_expert_gate.weight")),
            std::vector<float>(4, 0.0f));
}

TensorRule whole_rule(int64_t elements) {
  TensorRules rules;
  rules.copy("t", "embedding.weight", {elements});
  return rules.take().front();
}

TEST(TensorRules, Bfloat16KeepsItsBits) {
  const std::vector<uint16_t> bits = {0x0000, 0x8000, 0x3F80, 0xC0FF, 0x0001, 0x7F80, 0x7FC0, 0x1234};
  const ParameterViews views = {{"embedding.weight", {.dtype = "BF16", .shape = {8}, .data = bits.data()}}};
  const TensorRule rule = whole_rule(8);
  const std::vector<TensorToWrite> tensors = tensors_to_write({rule}, views);
  EXPECT_EQ(tensors[0].dtype, "BF16");
  EXPECT_EQ(elements<uint16_t>(tensors[0]), bits);
}

TEST(TensorRules, Float64BecomesFloat32OrIsRefused) {
  std::vector<double> values = {1.0 / 3, -2, 1e-300, 0};
  const ParameterViews views = {{"embedding.weight", {.dtype = "F64", .shape = {4}, .data = values.data()}}};
  const TensorRule rule = whole_rule(4);
  const TensorToWrite tensor = tensors_to_write({rule}, views)[0];
  EXPECT_EQ(tensor.dtype, "F32");
  EXPECT_EQ(elements<float>(tensor), (std::vector<float>{1.0f / 3, -2, 0, 0}));
  values[1] = 1e39;
  expect_user_error([&] { elements<float>(tensor); }, {"'embedding.weight'", "1e+39"});
}

}  // namespace
}  // namespace launch::interchange
