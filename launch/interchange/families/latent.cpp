#include "launch/interchange/families/decoder.h"

namespace launch::interchange {

void latent_attention_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                              const std::string& to) {
  const moetrain::ModelConfig& model = shape.model;
  const auto& latent = model.attending.own<moetrain::LatentConfig>();
  const bool bias = model.attending.bias == moetrain::ProjectionBias::kAll;
  const int64_t query = model.heads * (latent.plain_width + latent.turned_width);
  const auto projection = [&](const std::string& there, const std::string& here, int64_t out, int64_t in, bool with) {
    rules.copy(to + there + ".weight", from + here + ".weight", {out, in});
    if (with) rules.copy(to + there + ".bias", from + here + ".bias", {out});
  };
  if (latent.query_rank == 0) {
    projection("q_proj", "query", query, model.width, false);
  } else {
    projection("q_a_proj", "query_down", latent.query_rank, model.width, bias);
    rules.copy(to + "q_a_layernorm.weight", from + "query_norm.weight", {latent.query_rank});
    projection("q_b_proj", "query_up", query, latent.query_rank, false);
  }
  projection("kv_a_proj_with_mqa", "kv_down", latent.kv_rank + latent.turned_width, model.width, bias);
  rules.copy(to + "kv_a_layernorm.weight", from + "kv_norm.weight", {latent.kv_rank});
  projection("kv_b_proj", "kv_up", model.heads * (latent.plain_width + latent.value_width), latent.kv_rank, false);
  projection("o_proj", "output", model.width, model.heads * latent.value_width, bias);
}

}  // namespace launch::interchange
