#include "launch/interchange/tensor_map.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <utility>

#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

using Shape = std::vector<int64_t>;

/// Collects the rules of one model; D width, F hidden width, V vocabulary, E experts.
class RuleList {
 public:
  RuleList(const ModelShape& shape, Architecture architecture) : shape_(shape), architecture_(architecture) {}

  std::vector<TensorRule> take() { return std::move(rules_); }

  void add_model() {
    const int64_t width = shape_.model.width;
    copy("model.embed_tokens.weight", "embedding.weight", {shape_.vocabulary_size, width});
    const std::vector<bool> has_experts = moetrain::expert_blocks(shape_.moe.layers, shape_.model.layers);
    for (size_t block = 0; block < has_experts.size(); ++block) {
      const std::string from = "blocks." + std::to_string(block) + ".";
      const std::string to = "model.layers." + std::to_string(block) + ".";
      add_attention(from, to);
      if (has_experts[block]) {
        add_experts(from + "moe.", to + (architecture_ == Architecture::kMixtral ? "block_sparse_moe." : "mlp."));
      } else {
        add_feed_forward(from + "feed_forward.", to + "mlp.", shape_.model.ffn_hidden);
      }
    }
    copy("model.norm.weight", "final_norm.weight", {width});
    if (!shape_.model.tie_embeddings) copy("lm_head.weight", "head.weight", {shape_.vocabulary_size, width});
  }

 private:
  void copy(const std::string& target, const std::string& source, const Shape& shape) {
    rules_.push_back({.target = target, .target_shape = shape, .source = source, .source_shape = shape});
  }

  /// And both norms of the block.
  void add_attention(const std::string& from, const std::string& to) {
    const moetrain::ModelConfig& model = shape_.model;
    const int64_t head_width = model.width / model.heads;
    const int64_t query_width = model.heads * head_width;
    const int64_t key_width = model.kv_heads * head_width;
    copy(to + "input_layernorm.weight", from + "attention_norm.weight", {model.width});
    copy(to + "self_attn.q_proj.weight", from + "attention.query.weight", {query_width, model.width});
    copy(to + "self_attn.k_proj.weight", from + "attention.key.weight", {key_width, model.width});
    copy(to + "self_attn.v_proj.weight", from + "attention.value.weight", {key_width, model.width});
    copy(to + "self_attn.o_proj.weight", from + "attention.output.weight", {model.width, query_width});
    copy(to + "post_attention_layernorm.weight", from + "ffn_norm.weight", {model.width});
  }

  void add_feed_forward(const std::string& from, const std::string& to, int64_t hidden) {
    copy(to + "gate_proj.weight", from + "gate.weight", {hidden, shape_.model.width});
    copy(to + "up_proj.weight", from + "up.weight", {hidden, shape_.model.width});
    copy(to + "down_proj.weight", from + "down.weight", {shape_.model.width, hidden});
  }

  void add_experts(const std::string& from, const std::string& to) {
    copy(to + "gate.weight", from + "router.weight", {shape_.moe.experts, shape_.model.width});
    const bool mixtral = architecture_ == Architecture::kMixtral;
    for (int64_t expert = 0; expert < shape_.moe.experts; ++expert) {
      const std::string expert_to = to + "experts." + std::to_string(expert) + ".";
      const int64_t width = shape_.model.width;
      const int64_t hidden = shape_.moe.hidden;
      add_expert_weight(expert_to + (mixtral ? "w1" : "gate_proj"), from + "experts.gate", expert, {width, hidden});
      add_expert_weight(expert_to + (mixtral ? "w3" : "up_proj"), from + "experts.up", expert, {width, hidden});
      add_expert_weight(expert_to + (mixtral ? "w2" : "down_proj"), from + "experts.down", expert, {hidden, width});
    }
    if (!mixtral) add_shared_expert(from, to);
  }

  /// moetrain multiplies row vectors (x_D @ w_DF), transformers keeps the transpose.
  void add_expert_weight(const std::string& to, const std::string& from, int64_t expert, const Shape& matrix) {
    rules_.push_back({.target = to + ".weight",
                      .target_shape = {matrix[1], matrix[0]},
                      .source = from,
                      .source_shape = {shape_.moe.experts, matrix[0], matrix[1]},
                      .expert = expert});
  }

  void add_shared_expert(const std::string& from, const std::string& to) {
    if (needs_zero_shared_expert(shape_)) {
      add_zeros(to + "shared_expert.gate_proj.weight", {1, shape_.model.width});
      add_zeros(to + "shared_expert.up_proj.weight", {1, shape_.model.width});
      add_zeros(to + "shared_expert.down_proj.weight", {shape_.model.width, 1});
      add_zeros(to + "shared_expert_gate.weight", {1, shape_.model.width});
      return;
    }
    add_feed_forward(from + "shared.", to + "shared_expert.", shape_.moe.shared_hidden);
    if (shape_.moe.shared_gate) {
      copy(to + "shared_expert_gate.weight", from + "shared_gate.weight", {1, shape_.model.width});
    } else {
      // A zero gate is sigmoid(0) = 1/2; twice the output weights make up for it, exactly.
      rules_.back().scale = 2;
      add_zeros(to + "shared_expert_gate.weight", {1, shape_.model.width});
    }
  }

  void add_zeros(const std::string& target, const Shape& shape) {
    rules_.push_back({.target = target, .target_shape = shape, .source = "", .source_shape = {}});
  }

  const ModelShape& shape_;
  Architecture architecture_;
  std::vector<TensorRule> rules_;
};

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
  if (view.dtype != "F32" && view.dtype != "BF16" && view.dtype != "F64") {
    parallel::user_error("parameter '", rule.source, "' is of type ", view.dtype, "; legal: F32, BF16, F64");
  }
}

float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
/// Exact for what bfloat16_to_float gave, times a power of two.
uint16_t float_to_bfloat16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

float double_to_float(const std::string& name, double value) {
  const auto narrow = static_cast<float>(value);
  if (std::isinf(narrow) && !std::isinf(value)) {
    parallel::user_error("parameter '", name, "' holds ", value, ", which float32 cannot hold");
  }
  return narrow;
}

/// Writes `convert(in)` in order, or transposed by tiles that stay in the cache.
template <class In, class Out, class Convert>
void convert_matrix(const In* in, std::span<std::byte> bytes, const TensorRule& rule, Convert convert) {
  Out* out = reinterpret_cast<Out*>(bytes.data());
  if (rule.expert < 0) {
    std::transform(in, in + bytes.size() / sizeof(Out), out, convert);
    return;
  }
  constexpr int64_t kTile = 64;
  const int64_t rows = rule.source_shape[1];
  const int64_t columns = rule.source_shape[2];
  in += rule.expert * rows * columns;
  for (int64_t row0 = 0; row0 < rows; row0 += kTile) {
    for (int64_t column0 = 0; column0 < columns; column0 += kTile) {
      for (int64_t column = column0; column < std::min(column0 + kTile, columns); ++column) {
        for (int64_t row = row0; row < std::min(row0 + kTile, rows); ++row) {
          out[column * rows + row] = convert(in[row * columns + column]);
        }
      }
    }
  }
}

void fill_tensor(const TensorRule& rule, const TensorView& view, std::span<std::byte> bytes) {
  const float scale = rule.scale;
  if (view.dtype == "F32") {
    convert_matrix<float, float>(static_cast<const float*>(view.data), bytes, rule,
                                 [scale](float value) { return value * scale; });
  } else if (view.dtype == "BF16") {
    convert_matrix<uint16_t, uint16_t>(static_cast<const uint16_t*>(view.data), bytes, rule, [scale](uint16_t value) {
      return float_to_bfloat16(bfloat16_to_float(value) * scale);
    });
  } else {
    convert_matrix<double, float>(static_cast<const double*>(view.data), bytes, rule,
                                  [&rule, scale](double value) { return double_to_float(rule.source, value) * scale; });
  }
}

}  // namespace

std::vector<TensorRule> tensor_rules(const ModelShape& shape) {
  RuleList rules(shape, choose_architecture(shape));
  rules.add_model();
  return rules.take();
}

void check_complete(const std::vector<TensorRule>& rules, const ParameterViews& parameters) {
  std::map<std::string, int64_t> used_elements;
  std::set<std::pair<std::string, int64_t>> used_slices;
  for (const TensorRule& rule : rules) {
    if (rule.source.empty()) continue;
    check_parameter(rule, parameters);
    parallel::check_internal(used_slices.emplace(rule.source, rule.expert).second, "'", rule.source, "' is used twice");
    used_elements[rule.source] += element_count(rule.target_shape);
  }
  for (const auto& [name, view] : parameters) {
    const auto used = used_elements.find(name);
    if (used == used_elements.end()) {
      parallel::user_error("parameter '", name, "' ", shape_text(view.shape),
                           " is spare: a model of this recipe has none of that name");
    }
    parallel::check_internal(used->second == element_count(view.shape), "'", name, "' has ", element_count(view.shape),
                             " elements, the export uses ", used->second);
  }
}

std::vector<TensorToWrite> tensors_to_write(const std::vector<TensorRule>& rules, const ParameterViews& parameters) {
  // Zeros take the type of the embedding, which every model has.
  const auto exported = [](const TensorView& view) { return view.dtype == "BF16" ? "BF16" : "F32"; };
  std::vector<TensorToWrite> tensors;
  for (const TensorRule& rule : rules) {
    const TensorView& view = parameters.at(rule.source.empty() ? "embedding.weight" : rule.source);
    TensorToWrite tensor{.name = rule.target, .dtype = exported(view), .shape = rule.target_shape, .fill = {}};
    if (rule.source.empty()) {
      tensor.fill = [](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0}); };
    } else {
      tensor.fill = [rule, view](std::span<std::byte> bytes) { fill_tensor(rule, view, bytes); };
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace launch::interchange
