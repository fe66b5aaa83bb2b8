// What an attention may be beyond its heads, as published models have it.
// defines: AttentionConfig, AttentionKind, AttentionWeights, QkNorm, ProjectionBias, Positions, RopeKind, RopePairs,
// LatentConfig, RelativeConfig, LinearRopeConfig, Llama3RopeConfig, YarnConfig, visit
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "parallel/base/field.h"
#include "parallel/base/own_keys.h"

namespace moetrain {

/// Grouped-query attention (Attention), or multi-head latent attention (LatentAttention).
enum class AttentionKind { kGrouped, kLatent };
constexpr std::array<const char*, 2> names_of(AttentionKind) { return {"grouped", "latent"}; }

/// What a query's logits become: a softmax, or weights in which the latest match wins (stick_breaking).
enum class AttentionWeights { kSoftmax, kStickBreaking };
constexpr std::array<const char*, 2> names_of(AttentionWeights) { return {"softmax", "stick_breaking"}; }

/// RMSNorm of queries and keys before they are turned to their positions. kHead: of each head by itself, with one
/// weight of the head's width (Qwen3); kAll: of all heads' numbers together (OLMoE).
enum class QkNorm { kNone, kHead, kAll };
constexpr std::array<const char*, 3> names_of(QkNorm) { return {"none", "head", "all"}; }

/// Which projections have a bias: none (Llama), those of query, key and value (Qwen2), or the output's too (GPT-OSS).
enum class ProjectionBias { kNone, kQkv, kAll };
constexpr std::array<const char*, 3> names_of(ProjectionBias) { return {"none", "qkv", "all"}; }

/// How an attention to the own side knows where tokens stand: queries and keys are turned (Rotary), or what they say to
/// each other is shifted by their distance (PositionBias), or by nothing but what a token may see.
enum class Positions { kRotary, kRelative, kNone };
constexpr std::array<const char*, 3> names_of(Positions) { return {"rotary", "relative", "none"}; }

/// How rotary frequencies are stretched for sequences longer than those first trained on (rope_frequencies).
enum class RopeKind { kPlain, kLinear, kLlama3, kYarn };
constexpr std::array<const char*, 4> names_of(RopeKind) { return {"plain", "linear", "llama3", "yarn"}; }

struct AttentionConfig : parallel::HasOwnKeys {
  parallel::Enum<AttentionKind> kind = AttentionKind::kGrouped;
  parallel::Enum<AttentionWeights> weights = AttentionWeights::kSoftmax;
  int64_t head_width = 0;
  parallel::Enum<ProjectionBias> bias = ProjectionBias::kNone;
  parallel::Enum<QkNorm> norm = QkNorm::kNone;
  double clip = 0.0;
  int64_t window = 0;
  std::string windowed = "all";
  bool sinks = false;
  bool scaled = true;
  parallel::Enum<Positions> positions = Positions::kRotary;
  parallel::Enum<RopeKind> rope = RopeKind::kPlain;
};

template <class Visitor>
void visit(AttentionConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(), "heads that share keys and values, or whose keys and values share a latent");
  field(
      "weights", config.weights, anything(),
      "what a query makes of its keys: a softmax, or stick_breaking, in which the latest match wins and positions are "
      "not needed (ModuleFormer)");
  field("head_width", config.head_width, between(0, 1 << 14),
        "width of one head, even; 0: model.width / model.heads, as most have it");
  field("bias", config.bias, anything(), "projections with a bias: none, of query, key and value (Qwen2), or all");
  field("norm", config.norm, anything(),
        "RMSNorm of queries and keys: none, of each head (Qwen3), or over all heads (OLMoE)");
  field("clip", config.clip, at_least(0), "queries, keys and values are held within this of 0 (OLMoE); 0: not at all");
  field("window", config.window, between(0, 1 << 30),
        "tokens that a token sees, itself and those before it; 0: all of its sequence");
  field("windowed", config.windowed, anything(),
        "with window > 0: blocks with that window, as moe.layers names those with experts");
  field("sinks", config.sinks, anything(),
        "a learned number for each head that takes part in the softmax and stands for no token (GPT-OSS)");
  field("scaled", config.scaled, anything(),
        "products of queries and keys are divided by the root of the head's width; T5's are not");
  field("positions", config.positions, anything(),
        "queries and keys are turned by their place, or their products shifted by their distance, with one learned "
        "table for all blocks of a stack (T5), or none");
  field("rope", config.rope, anything(), "how rotary frequencies are stretched for long sequences");
}

/// Which numbers of a head turn together: i with i + half of them (Llama), or 2 i with 2 i + 1 (the original;
/// DeepSeek).
enum class RopePairs { kHalf, kAdjacent };
constexpr std::array<const char*, 2> names_of(RopePairs) { return {"half", "adjacent"}; }

/// Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2).
struct LatentConfig {
  int64_t query_rank = 0;
  int64_t kv_rank = 512;
  int64_t plain_width = 128;
  int64_t turned_width = 64;
  int64_t value_width = 128;
  parallel::Enum<RopePairs> pairs = RopePairs::kAdjacent;
};

template <class Visitor>
void visit(LatentConfig& config, Visitor& field) {
  using namespace parallel;
  field("query_rank", config.query_rank, between(0, 1 << 20), "numbers of the queries' latent; 0: none");
  field("kv_rank", config.kv_rank, between(1, 1 << 20), "numbers of the keys' and values' latent");
  field("plain_width", config.plain_width, between(1, 1 << 14), "of a head's query and key, what knows no position");
  field("turned_width", config.turned_width, between(2, 1 << 14), "what is turned to its position; even");
  field("value_width", config.value_width, between(1, 1 << 14), "of a head's value");
  field("pairs", config.pairs, anything(), "which numbers turn together: i and i + half of them, or 2 i and 2 i + 1");
}

/// Distances of T5 (Raffel et al. 2020).
struct RelativeConfig {
  int64_t buckets = 32;
  int64_t longest = 128;
};

template <class Visitor>
void visit(RelativeConfig& config, Visitor& field) {
  using namespace parallel;
  field("buckets", config.buckets, between(2, 1 << 20),
        "rows of the table; where a token sees both sides, half of them for each");
  field("longest", config.longest, between(2, 1 << 30), "[tokens] from this distance on, all are one");
}

/// Positions divided by a factor (Chen et al. 2023).
struct LinearRopeConfig {
  double factor = 2.0;
};

template <class Visitor>
void visit(LinearRopeConfig& config, Visitor& field) {
  field("factor", config.factor, parallel::at_least(1), "positions are divided by this");
}

/// Llama 3.1 (Grattafiori et al. 2024).
struct Llama3RopeConfig {
  double factor = 8.0;
  double low_frequency = 1.0;
  double high_frequency = 4.0;
  int64_t original_length = 8192;
};

template <class Visitor>
void visit(Llama3RopeConfig& config, Visitor& field) {
  using namespace parallel;
  field("factor", config.factor, at_least(1), "frequencies of long waves are divided by this");
  field("low_frequency", config.low_frequency, above(0),
        "a wave that turns fewer times in original_length is long; between this and high_frequency is a blend");
  field("high_frequency", config.high_frequency, above(0), "one that turns more often stays");
  field("original_length", config.original_length, between(1, 1 << 30), "[tokens] trained on at first");
}

/// YaRN (Peng et al. 2023).
struct YarnConfig {
  double factor = 4.0;
  int64_t original_length = 4096;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double attention_factor = 0.0;
  double mscale = 0.0;
  double mscale_all = 0.0;
  bool truncate = true;
};

template <class Visitor>
void visit(YarnConfig& config, Visitor& field) {
  using namespace parallel;
  field("factor", config.factor, at_least(1), "frequencies of long waves are divided by this");
  field("original_length", config.original_length, between(1, 1 << 30), "[tokens] trained on at first");
  field("beta_fast", config.beta_fast, above(0), "a wave that turns more often in original_length stays");
  field("beta_slow", config.beta_slow, above(0), "one that turns fewer times is divided; between is a ramp");
  field("attention_factor", config.attention_factor, at_least(0),
        "queries and keys are multiplied by this; 0: m(1), or m(mscale) / m(mscale_all) where both are given, with "
        "m(w) = "
        "0.1 w ln(factor) + 1");
  field("mscale", config.mscale, at_least(0), "0: not given");
  field("mscale_all", config.mscale_all, at_least(0),
        "0: not given; latent attention multiplies its logits by m(mscale_all)^2");
  field("truncate", config.truncate, anything(), "the ramp begins and ends at whole dimensions");
}

}  // namespace moetrain
