// defines: TransformerBlock, BlockShape, BlockExperts, BlockCache: attention, then a feed-forward, dense or of experts
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "moetrain/attention/attention.h"
#include "moetrain/attention/cross_attention.h"
#include "moetrain/layers/modulation.h"
#include "moetrain/layers/norm.h"
#include "moetrain/models/model_config.h"
#include "moetrain/models/recompute.h"
#include "moetrain/moe/attention_modules.h"
#include "moetrain/moe/moe_layer.h"

namespace moetrain {

/// What a block keeps of the places decoded so far.
struct BlockCache {
  KeyValueCache own;
  MemoryKeys memory;  // undefined tensors at first, and where there is no memory

  /// The sequences become these of them, int64 [R], on the cache's device.
  void keep(const at::Tensor& row_R);
};

struct BlockShape {
  int64_t layer = 0;  // number of the block in its model, part of the key of every draw
  bool causal = true;
  bool attention = true;         // to its own side,
  bool windowed = false;         // to the nearest tokens alone
  bool cross = false;            // attends to a memory too
  bool modulated = false;        // by a condition of each sequence; then positions are in the input
  int64_t previous_experts = 0;  // routed experts of the MoE block before in the same stack; 0: none
};

/// What stands in place of its dense layers; nullopt: nothing.
struct BlockExperts {
  std::optional<MoeConfig> attention;
  std::optional<MoeConfig> feed_forward;
};

/// [x += attention(norm(x));] [x += cross_attention(norm(x), memory);] x += feed_forward_or_moe(norm(x)).
/// In training, dropout (model.dropout) acts on each addend. Where the block is modulated (Modulation), norms and
/// addends are too.
class TransformerBlock : public torch::nn::Module {
 public:
  /// What goes in besides the tokens.
  struct Context {
    const BatchScope& scope;             // that knows the sequences of all tokens of the tensor group
    const Memory* memory = nullptr;      // where the block attends to one
    BlockCache* cache = nullptr;         // in decoding
    at::Tensor condition_SD = {};        // of all sequences of the tensor group, where the block is modulated
    at::Tensor position_bias_1HLK = {};  // of the stack, where it has one
    at::Tensor previous_logits_TE = {};  // of the MoE block before in the same stack; undefined: none
    Recompute recompute = Recompute::kNone;
  };
  struct Output {
    at::Tensor out_TD;
    std::vector<RoutedOutput> routed;  // of routed_layers()
  };
  TransformerBlock(const ParameterSource& source, const ModelConfig& config, const BlockExperts& experts,
                   const BlockShape& shape, const MoeTables& tables);

  Output forward(const at::Tensor& x_TD, const Context& context);
  /// Those that it has, in the order of forward.
  std::vector<const RoutedLayer*> routed_layers() const;

 private:
  at::Tensor dropped(const at::Tensor& addend_TD, const char* place, const BatchScope& scope) const;
  void add_attention(const ParameterSource& source, const ModelConfig& config, const std::optional<MoeConfig>& experts,
                     const MoeTables& tables);
  void add_feed_forward(const ParameterSource& source, const ModelConfig& config,
                        const std::optional<MoeConfig>& experts, const MoeTables& tables);
  std::shared_ptr<Norm> add_norm(const ParameterSource& source, const ModelConfig& config, const std::string& name);
  at::Tensor attend_memory(const at::Tensor& normed_TD, const Context& context) const;
  /// Of its own side. `injected`: of its decision, if any.
  MixedTokens attend_own(const at::Tensor& normed_TD, const Context& context, const RoutingChoices* injected) const;
  /// The first half: attention, to the memory too where there is one.
  MixedTokens attend(at::Tensor x_TD, const Context& context, const RoutingChoices* injected) const;
  /// The second half.
  MixedTokens feed(const at::Tensor& x_TD, const Context& context, const RoutingChoices* injected) const;
  PartOutput attend_and_feed(const at::Tensor& x_TD, const Context& context,
                             const std::vector<RoutingChoices>& injected) const;
  PartOutput feed_recomputed(const at::Tensor& x_TD, const Context& context);
  /// The first half, or both.
  enum class Half { kAttention, kFeedForward };
  PartOutput recomputed_to(Half last, const at::Tensor& x_TD, const Context& context);
  /// Both, of which is made again what the context says.
  PartOutput halves(const at::Tensor& x_TD, const Context& context);

  double dropout_;
  BlockShape shape_;
  std::shared_ptr<Norm> attention_norm_, cross_norm_, ffn_norm_;
  std::shared_ptr<Modulation> attention_modulation_, ffn_modulation_;  // null where it is not modulated
  std::shared_ptr<SelfAttention> attention_;  // where it attends to its own side, one of these two is not null
  std::shared_ptr<AttentionModules> attention_modules_;
  std::shared_ptr<CrossAttention> cross_;      // null without a memory
  std::shared_ptr<FeedForward> feed_forward_;  // one of these two is null
  std::shared_ptr<MoeLayer> moe_;
};

}  // namespace moetrain
