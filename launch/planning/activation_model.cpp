#include "launch/planning/activation_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "moetrain/layers/output_head.h"

namespace launch {
namespace {

/// Sizes of one layout, and what each kind of layer adds with them. Letters as in the layers: D width, W of rows, T own
/// tokens, G the tensor group's, R rows sent, N rows at this rank's experts.
class StageCounter {
 public:
  StageCounter(const Recipe& recipe, const Workload& work, const Routing& routing)
      : recipe_(recipe),
        work_(work),
        routing_(routing),
        b_(work.element),
        w_(work.wide),
        D_(recipe.model.width),
        t_(work.mesh.tensor) {}

  Stage embedding(const TokenCount& tokens, const std::string& name) const {
    Stage stage{.name = name, .kept = dropout_mask(tokens)};
    if (!work_.ends.embeds) {
      stage.in_forward = 2 * tokens.own * D_ * b_;
      stage.in_backward = tokens.own * D_ * b_;
      return stage;
    }
    if (t_ > 1) stage.kept += 9 * tokens.group;  // which ids are elsewhere, and the others' rows
    stage.in_forward = (t_ > 1 ? 2 * tokens.group : tokens.own) * D_ * b_;
    stage.in_backward = table_bytes(b_) + grads_of_input(tokens);
    return stage;
  }

  /// Of all the group's tokens, in at least float32. A block keeps of its attention the input, the normed input,
  /// queries, keys, values, what they saw and its input to the output's matrix; of its feed-forward input, normed
  /// input, gate, its SiLU, up and their product.
  Stage pre_gate() const {
    const auto& [config, experts] = *work_.pre_gate;
    const int64_t G = work_.tokens.group, W = config.width, F = config.hidden;
    Stage stage{.name = "pre-gate"};
    stage.kept = config.layers * G * (8 * W + 4 * F + config.heads) * w_ + G * (2 * W + experts) * w_;
    stage.in_forward = G * (W + F) * w_;
    stage.in_backward = G * (2 * F + 3 * W) * w_ + work_.vocabulary * W * b_;
    stage.parameters = {"pre_gate."};
    return stage;
  }

  /// keys_from: whose keys and values it sees.
  Stage attention(const TokenCount& tokens, const TokenCount& keys_from, const std::string& name) const {
    const bool cross = &tokens != &keys_from;
    const int64_t query = recipe_.model.heads * recipe_.model.head_width() / t_, kv = kv_width();
    Stage stage{.name = name, .kept = normed(tokens, /*gathers=*/true) + dropout_mask(tokens)};
    const int64_t heads = recipe_.model.heads / t_;
    stage.kept += tokens.group * (2 * query * b_ + heads * w_) + 2 * keys_from.group * kv * b_;
    stage.in_forward = tokens.group * (query + D_) * b_;
    stage.in_backward = grads_of_input(tokens) + tokens.group * 2 * query * b_ + 2 * keys_from.group * kv * b_ +
                        (cross ? keys_from.group * D_ * b_ : 0) + D_ * query * b_;
    stage.weights = 2 * D_ * (query + kv) * b_;
    if (!cross) add_products(stage, tokens, heads);
    stage.again = tokens.own * D_ * b_;
    return stage;
  }

  Stage feed_forward(const TokenCount& tokens, const std::string& name) const {
    const int64_t hidden = recipe_.model.ffn_hidden / t_;
    Stage stage{.name = name, .kept = normed(tokens, /*gathers=*/true) + dropout_mask(tokens)};
    stage.kept += tokens.group * hidden * work_.feed_forward.kept_hiddens * b_;
    stage.in_forward = tokens.group * (hidden + D_) * b_;
    stage.in_backward = grads_of_input(tokens) + (2 * tokens.group + D_) * hidden * b_;
    stage.weights = work_.feed_forward.matrices * D_ * hidden * b_;
    stage.again = tokens.own * D_ * b_;
    return stage;
  }

  Stage experts(const PlannedBlock& of, const std::string& name) const {
    const TokenCount& tokens = work_.side(of);
    const PlannedExperts& layer = *of.experts;
    const int64_t T = tokens.own, W = layer.row_width, top_k = layer.moe.top_k, S = work_.routed(of, layer).own;
    const auto R = static_cast<int64_t>(std::ceil(static_cast<double>(S * top_k) * choice_share(layer)));
    const int64_t N = rows_at_experts(layer, R);
    Stage stage{.name = name, .kept = normed(tokens, /*gathers=*/false) + dropout_mask(tokens)};
    stage.kept += decision(layer, S) + shared(layer, T) + local_experts(layer, T);
    if (layer.moe.latent > 0) stage.kept += T * W * b_;
    int64_t rows = N * (W + layer.expert.kept) + R * W;
    int64_t forward = N * ((alone() ? 1 : 3) * W + layer.expert.in_forward);
    // Its own node runs after that of the shared expert, whose tensors are gone by then.
    int64_t travelling = R * W + N * ((alone() ? 2 : 3) * W + layer.expert.in_backward);
    if (const auto& gathered = layer.expert.gathered) {
      const moetrain::GatheredLoad load{N, busiest_expert(layer, N), W, recipe_.run.threads};
      rows = N * gathered->kept + (layer.moe.latent > 0 ? T * W : 0);
      forward = N * W + gathered->in_forward(load), travelling = R * W + gathered->in_backward(load);
    }
    stage.rows_kept = rows * b_ + orders(R, S * top_k, N);
    stage.kept += stage.rows_kept;
    stage.in_forward = forward * b_ + 2 * T * D_ * b_;
    const double share = most_experts(recipe_, layer);
    const auto experts =
        static_cast<int64_t>(std::llround(share * static_cast<double>(moetrain::weight_sets(layer.moe))));
    const int64_t weights = experts * layer.expert.parameters * b_;
    // Low-precision gradients of weights are summed up in the wide type, a matrix a thread; where the processor has
    // products for such sums, they are written to their place, and none of this is there.
    const int64_t sums = b_ < w_ && recipe_.run.device == Device::kCpu
                             ? std::min(recipe_.run.threads, experts) * layer.expert.parameters /
                                   std::max<int64_t>(1, layer.expert.matrices) * w_
                             : 0;
    stage.in_backward = 2 * T * D_ * b_ + travelling * b_ + (have_places() && b_ == w_ ? 0 : weights) + sums;
    stage.in_backward = std::max<int64_t>(0, stage.in_backward - shared(layer, T));
    stage.rows_in_backward = std::min(stage.in_backward, travelling * b_);
    stage.weights = weights + D_ * layer.moe.shared_hidden * work_.feed_forward.matrices * b_;
    stage.again = T * D_ * b_ + decision(layer, S);
    return stage;
  }

  /// An attention whose projections are experts: A numbers of one of a token's K choices.
  Stage modules(const PlannedBlock& of, const std::string& name) const {
    const TokenCount& tokens = work_.side(of);
    const PlannedExperts& layer = *of.modules;
    const int64_t T = tokens.own, G = tokens.group, A = layer.out_width, K = layer.moe.top_k;
    const int64_t heads = K * recipe_.model.heads / t_, kv = recipe_.model.kv_heads * A / recipe_.model.heads / t_;
    const auto R = static_cast<int64_t>(std::ceil(static_cast<double>(T * K) * choice_share(layer)));
    const int64_t N = rows_at_experts(layer, R), seen = K * A / t_;
    Stage stage{.name = name, .kept = normed(tokens, /*gathers=*/true) + dropout_mask(tokens)};
    stage.kept += decision(layer, T) + (t_ > 1 ? T * D_ * b_ : 0);
    stage.kept += G * (2 * seen * b_ + heads * w_) + 2 * G * kv * b_;
    stage.rows_kept = N * (D_ + A) * b_ + R * D_ * b_ + 2 * orders(R, T * K, N);
    stage.kept += stage.rows_kept;
    const int64_t experts =
        std::llround(most_experts(recipe_, layer) * static_cast<double>(layer.kinds.ffn)) * layer.expert.parameters;
    stage.weights = 2 * experts * b_ + 2 * D_ * kv * b_;
    // Rows on their way are gone when attention begins.
    stage.in_forward = (std::max((alone() ? 1 : 3) * N * std::max(A, D_), 2 * G * seen) + T * K * A) * b_;
    // Attention, and before and after it rows on their way: not at once. Rotation has a copy of its own.
    const bool turned = recipe_.model.attending.positions == moetrain::Positions::kRotary;
    stage.in_backward = ((turned ? 4 : 3) * G * seen + 2 * G * kv) * b_;
    add_products(stage, tokens, heads);
    const int64_t rows = ((alone() ? 1 : 3) * N + R) * std::max(A, D_) * b_;
    stage.in_backward = grads_of_input(tokens) + experts * b_ + std::max(stage.in_backward, rows);
    stage.again = T * D_ * b_ + decision(layer, T);
    return stage;
  }

  Stage head() const {
    const int64_t G = work_.targets(), P = work_.passes, V = work_.predicted(), table = V * D_;
    const bool gathers = work_.ends.gathers, shared = work_.ends.predicted == 0;
    const bool low = b_ < w_;
    Stage stage{.name = "head"};
    for (int64_t pass = 0; pass < P; ++pass) stage.kept += normed(work_.tokens, gathers);
    // Where the gradient has a place, that is opened in forward.
    stage.kept += P * G * D_ * b_ + (have_places() ? 0 : table * b_);
    const bool cpu = recipe_.run.device == Device::kCpu;
    const int64_t chunk =
        std::min(G, moetrain::OutputHead::tokens_of_chunk(cpu, low ? at::kBFloat16 : at::kFloat, V * P));
    const bool in_place = cpu && P == 1 && work_.objective.head_tables == 0;
    const bool whole_rows =
        in_place && !(t_ > 1 && shared);  // whose gradient takes the logits' place in their own type
    const int64_t tables =
        in_place ? 1 + (low ? 1 : 0)
                 : (P == 1 ? 2 : 2 * P + 4) + (t_ > 1 && shared ? 2 : 0) + (low ? 1 : 0) + work_.objective.head_tables;
    stage.head_chunk = chunk * (V * (whole_rows ? b_ : tables * w_) + 2 * D_ * b_);
    stage.in_forward = stage.head_chunk + (low || have_places() ? table * w_ : 0);
    stage.in_backward = P * G * D_ * b_ + (have_places() ? 0 : table * b_);
    // One leaf for both: the head's gradient waits for the embedding's.
    if (recipe_.model.tie_embeddings && shared) stage.held_after = have_places() ? 0 : table * b_;
    return stage;
  }

 private:
  int64_t table_bytes(int64_t element) const { return work_.own_vocabulary * D_ * element; }
  int64_t dropout_mask(const TokenCount& tokens) const { return recipe_.model.dropout > 0 ? tokens.own * D_ * b_ : 0; }
  /// Whether gradients of weights have a place where they are gathered (GradientPlace), which the head writes itself,
  /// and experts of no 16 bits: all of them, each once.
  bool have_places() const {
    const bool all = !recipe_.lora.on() && recipe_.train.frozen.empty();
    return work_.micro_batches == 1 && work_.passes == 1 && recipe_.mesh.zero < 2 && all;
  }
  /// The gradient of a layer's sum, and of all the group's tokens.
  int64_t grads_of_input(const TokenCount& tokens) const {
    return (tokens.own + (t_ > 1 ? tokens.group : 0)) * D_ * b_;
  }

  /// What a norm and the layer behind it keep: its input, in at least float32; RMSNorm of LibTorch also its output
  /// before the weight; the output, which that layer multiplies, of all the group's tokens where it gathers them. Ours
  /// keeps the output alone, but for numbers of 16 bits.
  int64_t normed(const TokenCount& tokens, bool gathers) const {
    const int64_t T = tokens.own, out = gathers ? tokens.group : T;
    if (recipe_.model.norm == moetrain::NormKind::kLayer) return (T * D_ + out * D_) * b_ + 2 * T * w_;
    const int64_t scaled = fused() ? 0 : T * D_ * w_;  // before the weight, in the wide type
    const bool by_output = fused() && b_ == w_;
    return scaled + (by_output && out == T ? 0 : T * D_ * b_) + T * w_ + out * D_ * b_;
  }

  /// Whether norm and attention are moetrain/fused's.
  bool fused() const { return recipe_.run.device == Device::kCpu; }

  /// Of the keys of one rank; repeated where a tensor group has more ranks than there are key/value heads.
  int64_t kv_width() const {
    const moetrain::ModelConfig& model = recipe_.model;
    return (model.kv_heads % t_ == 0 ? model.kv_heads : model.heads) * model.head_width() / t_;
  }

  /// Of an attention to the own side that is no fused product: what is kept of each query and key. Of a softmax its
  /// output and what is multiplied, the logits before it; of stick-breaking weights the logits too.
  void add_products(Stage& stage, const TokenCount& tokens, int64_t heads) const {
    const moetrain::AttentionConfig& attention = recipe_.model.attending;
    const bool sticks = attention.weights == moetrain::AttentionWeights::kStickBreaking;
    const bool sinks = attention.sinks && !fused();
    if (!sticks && !sinks && attention.positions != moetrain::Positions::kRelative) return;
    const int64_t products = tokens.group * tokens.length * heads;
    stage.kept += products * ((sticks ? 2 : 1) * w_ + (b_ < w_ ? b_ : 0));
    stage.in_forward += 2 * products * w_;
    stage.in_backward += (sticks ? 4 : 2) * products * w_;
  }

  /// Of R rows of a layer's choices, N of them at this rank's experts: which is whose, and the way back.
  int64_t orders(int64_t R, int64_t choices, int64_t N) const {
    return 8 * ((alone() ? 1 : 2) * (2 * R + choices) + (alone() ? 0 : 2 * N));
  }
  bool alone() const { return work_.mesh.expert * work_.mesh.expert_tensor == 1; }

  /// Rows of the expert with most, of N that are all here.
  int64_t busiest_expert(const PlannedExperts& layer, int64_t N) const {
    const double even = static_cast<double>(N) / static_cast<double>(moetrain::weight_sets(layer.moe));
    return routing_.bounded ? N : std::min(N, static_cast<int64_t>(std::ceil(routing_.imbalance * even)));
  }

  int64_t decision(const PlannedExperts& layer, int64_t T) const {
    const int64_t wide_copy = b_ < w_ ? T * D_ * w_ : 0;  // of the tokens, for the router
    return T * (3 * layer.kinds.total() * w_ + layer.moe.top_k * (16 + 2 * w_ + b_)) + wide_copy;
  }

  int64_t shared(const PlannedExperts& layer, int64_t T) const {
    const moetrain::MoeConfig& moe = layer.moe;
    if (moe.shared_hidden == 0) return 0;
    int64_t elements = moe.shared_hidden * work_.feed_forward.kept_hiddens;
    if (moe.shared_combine == moetrain::SharedCombine::kResidual)
      elements += 2 * D_;
    else if (moe.shared_gate)
      elements += D_;
    return T * elements * b_;
  }

  int64_t local_experts(const PlannedExperts& layer, int64_t T) const {
    const int64_t C = layer.kinds.constant;
    return layer.kinds.copy + C > 0 ? T * (2 + 8 * C) * b_ : 0;
  }

  int64_t rows_at_experts(const PlannedExperts& layer, int64_t R) const {
    const auto sharing = static_cast<double>(work_.mesh.expert * work_.mesh.expert_tensor);
    const double all = sharing * static_cast<double>(R);
    const double bound = recipe_.mesh.receive_bound * all / static_cast<double>(work_.mesh.expert);
    const double busiest = routing_.bounded ? all : routing_.imbalance * all * most_experts(recipe_, layer);
    return std::llround(work_.mesh.expert == 1 ? all : std::min({all, bound, busiest}));
  }

  const Recipe& recipe_;
  const Workload& work_;
  const Routing& routing_;
  int64_t b_, w_, D_, t_;
};

/// One node for all of `parts`: only what is needed to make them again is kept until backward, which then holds all
/// that they keep, and their weights' gradients until it is through.
Stage made_again(std::vector<Stage> parts, const std::string& name) {
  Stage stage{.name = name + ", made again", .again = parts.front().again};
  int64_t rows = 0;
  for (Stage& part : parts) {
    part.held_after += part.weights;
    stage.weights += part.weights;
    stage.again = std::max(stage.again, part.again);
    stage.in_forward = std::max(stage.in_forward, part.kept + part.in_forward);
    rows += part.rows_kept;
    stage.parameters.insert(stage.parameters.end(), part.parameters.begin(), part.parameters.end());
  }
  const ActivationPeak peak = activation_peak(parts);
  stage.kept = stage.again;
  stage.in_backward = peak.bytes;
  stage.rows_in_backward = std::min(peak.bytes, std::max(rows, peak.rows));
  return stage;
}

}  // namespace

std::vector<Stage> activation_stages(const Recipe& recipe, const Workload& work, const Routing& routing) {
  const StageCounter counter(recipe, work, routing);
  std::vector<Stage> stages;
  for (int64_t pass = 0; pass < work.passes; ++pass) {
    if (work.source.world > 0) stages.push_back(counter.embedding(work.source, "source embedding"));
    if (work.pre_gate) stages.push_back(counter.pre_gate());
    bool decodes = false;
    for (const PlannedBlock& block : work.blocks) {
      const TokenCount& tokens = work.side(block);
      const std::string name = "block " + std::to_string(block.number);
      std::vector<Stage> parts;
      const auto add = [&](Stage stage, const std::vector<std::string>& names) {
        for (const std::string& each : names) stage.parameters.push_back(block.parameters + each);
        parts.push_back(std::move(stage));
      };
      if (!std::exchange(decodes, decodes || block.side == moetrain::Side::kTokens) &&
          block.side == moetrain::Side::kTokens) {
        stages.push_back(counter.embedding(work.tokens, "embedding"));
      }
      if (block.attention) {
        add(block.modules ? counter.modules(block, name + ", attention modules")
                          : counter.attention(tokens, tokens, name + ", attention"),
            {"attention"});
      }
      if (!parts.empty() && !block.of_stack.empty()) parts.back().parameters.push_back(block.of_stack);
      if (block.cross) add(counter.attention(tokens, work.source, name + ", cross-attention"), {"cross"});
      add(block.experts ? counter.experts(block, name + ", experts")
                        : counter.feed_forward(tokens, name + ", feed-forward"),
          {"moe.", "feed_forward.", "ffn_norm."});
      if (recipe.train.recompute == moetrain::Recompute::kBlock) {
        parts = {made_again(std::move(parts), name)};
      } else if (recipe.train.recompute == moetrain::Recompute::kMoe) {
        if (block.modules) parts.front() = made_again({parts.front()}, name + ", attention modules");
        if (block.experts) parts.back() = made_again({parts.back()}, name + ", experts");
      }
      stages.insert(stages.end(), parts.begin(), parts.end());
    }
  }
  stages.push_back(counter.head());
  stages.back().parameters = {"final_norm.", "head."};
  return stages;
}

}  // namespace launch
