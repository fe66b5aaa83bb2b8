// defines: AttentionModules: an attention whose query and output projections are experts
#pragma once
#include "moetrain/attention/own_side.h"
#include "moetrain/experts/head_experts.h"
#include "moetrain/layers/linear.h"
#include "moetrain/moe/routed_layer.h"
#include "parallel/base/even_part.h"

namespace moetrain {

/// Attention modules (ModuleFormer, Shen et al. 2023; as mixture of attention heads, Zhang et al. 2022): out[t] = sum
/// over the modules m that token t chose of G[t, m] W_o^m y^m[t], where y^m[t] is what the query W_q^m x[t], cut into
/// model.heads heads, sees of keys and values that all modules share. So K modules of a token are K times as many query
/// heads, and a cache holds keys and values once.
///
/// Queries are made where their modules are and come back to their token's rank, which attends; what was seen travels
/// to the same modules again (HeadExperts). A tensor group shares heads, as it does any attention's: queries of all its
/// tokens are gathered, each rank attends with its heads of them all, and what they saw is summed.
///
/// Parameters: router, key and value [kv_heads * head width, D], experts.query [E, D, A] and experts.output [E, A, D].
class AttentionModules : public RoutedLayer {
 public:
  struct Shape {
    AttentionShape attention;  // but for the width of its heads, which is the modules' hidden width / heads
    LayerSite site;
    double std = 0.02;         // of initial weights,
    double output_std = 0.02;  // and of those that write to the residual stream
  };
  AttentionModules(const ParameterSource& source, const MoeConfig& config, const Shape& shape, const MoeTables& tables);

  /// [T, D] -> [T, D]; T may be 0. cache: in decoding (OwnSide). bias_1HLK: PositionBias', of this rank's heads.
  /// Collective over the scope's group and, with a tensor group, over that.
  MixedTokens mix(const at::Tensor& tokens_TD, const BatchScope& scope, KeyValueCache* cache,
                  const at::Tensor& bias_1HLK, const RoutingChoices* injected) const;

 private:
  const ExpertWeights& experts() const override { return *experts_; }
  /// [T, K, A] queries -> [T, K, A], what they see.
  at::Tensor attend(const at::Tensor& tokens_TD, const at::Tensor& query_TKA, const BatchScope& scope,
                    KeyValueCache* cache, const at::Tensor& bias_1HLK) const;

  AttentionShape attention_;
  parallel::EvenPart own_heads_;  // of the query heads of a module, this rank's
  OwnSide side_;
  std::shared_ptr<Linear> key_, value_;
  std::shared_ptr<HeadExperts> experts_;
};

}  // namespace moetrain
