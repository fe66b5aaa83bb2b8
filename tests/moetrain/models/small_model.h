// defines: small_config, small_moe, model_of, random_tokens, run_alone: tiny float64 decoders
#pragma once
#include <ATen/ATen.h>

#include "moetrain/models/decoder_lm.h"
#include "parallel/base/random.h"
#include "parallel/comm/local_communicator.h"

namespace moetrain {

constexpr int64_t kVocabulary = 11;

inline ModelConfig small_config(bool tied = true) {
  return {
      .layers = 2, .width = 8, .heads = 4, .kv_heads = 2, .ffn_hidden = 10, .tie_embeddings = tied, .init_std = 0.4};
}

inline MoeConfig small_moe(const char* layers = "all") {
  return {.layers = layers,
          .experts = 4,
          .top_k = 2,
          .hidden = 6,
          .shared_hidden = 3,
          .losses = {{"load_balance", 0.5}, {"router_z", 0.2}}};
}

inline std::shared_ptr<DecoderLm> model_of(const ModelConfig& config, const MoeConfig& moe,
                                           at::ScalarType type = at::kDouble) {
  return std::make_shared<DecoderLm>(config, moe, kVocabulary, ParameterSource(29, type), MoeTables());
}

/// Tokens [S, L], a function of their index.
inline at::Tensor random_tokens(int64_t sequences, int64_t length, const char* name = "tokens") {
  const parallel::RandomStream stream(31, name);
  at::Tensor tokens = at::empty({sequences, length}, at::kLong);
  for (int64_t i = 0; i < tokens.numel(); ++i) tokens.mutable_data_ptr<int64_t>()[i] = stream.below(i, kVocabulary);
  return tokens;
}

inline ModelOutput run_alone(DecoderLm& model, const at::Tensor& tokens_SL, bool training) {
  parallel::LocalCommunicator alone;
  return model.forward({.tokens = TokenSide::whole(tokens_SL)}, {.group = alone, .training = training});
}

}  // namespace moetrain
