// One router at a model's entrance, whose decision all layers of experts share.
// defines: PreGate, PreGateConfig, visit, pre_gated_layers, pre_gated_router
#pragma once
#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "moetrain/attention/own_side.h"
#include "moetrain/layers/parameter_source.h"
#include "moetrain/routers/router.h"

namespace moetrain {

/// Of the router "pre_gated".
struct PreGateConfig {
  int64_t layers = 1;
  int64_t width = 64;
  int64_t heads = 4;
  int64_t hidden = 128;
  int64_t units = 0;
};

template <class Visitor>
void visit(PreGateConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, between(1, 1000), "blocks of the one router at the model's entrance");
  field("width", config.width, between(2, 1 << 20), "its width; heads must divide it, into even parts");
  field("heads", config.heads, between(1, 4096), "its attention heads");
  field("hidden", config.hidden, between(1, 1 << 24), "hidden width of its feed-forwards");
  field("units", config.units, between(0, 1 << 24),
        "hidden units of the dense feed-forwards that experts were selected from (transform --operation select), which "
        "objective.kind = \"pre_gate\" learns by; 0: it is not known which");
}

/// The router of Read-ME (Cai et al. 2024, "Read-ME: Refactorizing LLMs as Router-Decoupled Mixture of Experts with
/// System Co-Design"): a small causal transformer over token ids, known before the first block runs. Embedding, blocks
/// of RMSNorm, rotary attention whose products are not scaled, and a SwiGLU feed-forward; a last norm and a row for
/// each expert. As routers do it computes in at least float32, and is whole on every rank: a tensor group's ranks each
/// compute it for all the group's tokens, of which each uses its own.
///
/// Parameters: embedding [V, W], blocks.N.{attention_norm, query, key, value, output, ffn_norm, gate, up, down}, norm
/// [W], weight [E, W]. With `units`, a buffer "private" [layers of experts, E, units] of 0 and 1: the hidden units of
/// the dense feed-forward that an expert has and that not all experts have; at birth, unit f is expert f mod E's.
class PreGate : public torch::nn::Module {
 public:
  struct Shape {
    int64_t vocabulary = 0, experts = 0, layers = 0;  // layers of experts that it decides for
    double std = 0.02;                                // of initial weights
  };
  PreGate(const ParameterSource& source, const PreGateConfig& config, const Shape& shape);

  /// int64 [G] -> logits [G, E]. `caches`: in decoding one for each of its blocks; else empty.
  at::Tensor forward(const at::Tensor& ids_G, const Sequences& sequences,
                     const std::vector<KeyValueCache*>& caches) const;
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  /// Undefined where it is not known.
  const at::Tensor& private_LEF() const { return private_LEF_; }

 private:
  class Block;

  at::Tensor embedding_VW_, norm_W_, weight_EW_, private_LEF_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

/// Of a model's layers of experts (all_layer_configs) those that share its one router; UserError where they do not
/// agree on it, or on how many experts there are.
std::vector<MoeConfig> pre_gated_layers(const std::vector<MoeConfig>& layers);

/// The row of builtin_routers(): scores are the model's, BatchScope::pre_gate_TE.
RouterPreset pre_gated_router();

}  // namespace moetrain
