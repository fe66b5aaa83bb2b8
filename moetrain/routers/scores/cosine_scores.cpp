#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "moetrain/routers/scores/scores.h"

namespace moetrain {
namespace {

constexpr double kFirstTemperature = 0.3;

/// Rows of length 1; a zero row stays zero.
at::Tensor normalized(const at::Tensor& rows) {
  return rows / at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, /*keepdim=*/true).clamp_min(1e-12);
}

class CosineScores : public Scores {
 public:
  explicit CosineScores(const ScoresInput& input) {
    const int64_t width = input.config.own<CosineConfig>().width;
    const int64_t projected = width > 0 ? width : std::max<int64_t>(2, input.experts() / 2);
    projection_PD_ = input.source.normal("projection", {projected, input.shape.width}, input.shape.std);
    prototypes_EP_ = input.source.normal("prototypes", {input.experts(), projected}, 1.0);
    input.source.call_vectors("prototypes");
    log_temperature_1_ = input.source.constant("log_temperature", {1}, std::log(kFirstTemperature));
  }
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext&) const override {
    const at::ScalarType wide = tokens_TD.scalar_type();
    const at::Tensor projected_TP = normalized(at::linear(tokens_TD, projection_PD_.to(wide)));
    const at::Tensor cosine_TE = at::linear(projected_TP, normalized(prototypes_EP_.to(wide)));
    return {
        .logits_TE = cosine_TE * at::exp(-log_temperature_1_.to(wide)), .clean_logits_TE = {}, .noise_scale_TE = {}};
  }
  NamedParameters parameters() const override {
    return {{"projection", projection_PD_}, {"prototypes", prototypes_EP_}, {"log_temperature", log_temperature_1_}};
  }

 private:
  at::Tensor projection_PD_, prototypes_EP_, log_temperature_1_;
};

}  // namespace

std::unique_ptr<Scores> cosine_scores(const ScoresInput& input) { return std::make_unique<CosineScores>(input); }

}  // namespace moetrain
