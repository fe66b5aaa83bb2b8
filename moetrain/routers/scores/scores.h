// defines: Scores, ScoreTable, CosineConfig, MlpConfig: what a router thinks of each expert for each token
#pragma once
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/config/moe_config.h"
#include "moetrain/layers/parameter_source.h"
#include "moetrain/routers/router.h"

namespace moetrain {

struct ScoreTable {
  at::Tensor logits_TE;
  at::Tensor clean_logits_TE;  // see RoutingDecision; undefined without learned noise
  at::Tensor noise_scale_TE;
};

/// The first of a router's four choices. Its parameters are registered by the router under their own names.
class Scores {
 public:
  using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

  virtual ~Scores() = default;
  /// tokens_TD: at least float32, whatever the model's dtype.
  virtual ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext& context) const = 0;
  virtual NamedParameters parameters() const { return {}; }
};

/// The router's construction arguments, as RouterMaker has them.
struct ScoresInput {
  const ParameterSource& source;
  const MoeConfig& config;
  const RouterShape& shape;

  /// Experts of all kinds: columns of the logits.
  int64_t experts() const { return expert_kinds(config).total(); }
};

/// logits = x W^T (Shazeer et al. 2017 without noise; Fedus et al. 2022). Parameter: weight [E, D].
std::unique_ptr<Scores> linear_scores(const ScoresInput& input);

/// logits = x W^T + e * softplus(x W_noise^T), e ~ N(0, 1) by global token and expert, in training; without noise in
/// evaluation (Shazeer et al. 2017, eq. 4). Parameters: weight [E, D]; noise_weight [E, D], zero at the start as there.
std::unique_ptr<Scores> noisy_scores(const ScoresInput& input);

/// logits_e = cos(P x, prototype_e) / tau (Chi et al. 2022, X-MoE): tokens projected to a small width, both sides of
/// length 1, a learned temperature tau, kept positive as exp(log_temperature). Keys: CosineConfig. Inferred: the start
/// at tau = 0.3 and the default width E / 2 are from memory of the paper, and the projection has no bias. Parameters:
/// projection [P, D], prototypes [E, P], log_temperature [1].
std::unique_ptr<Scores> cosine_scores(const ScoresInput& input);

struct CosineConfig {
  int64_t width = 0;
};

template <class Visitor>
void visit(CosineConfig& config, Visitor& field) {
  field("width", config.width, parallel::between(0, 1 << 20),
        "width of the projected tokens; 0: experts / 2, at least 2");
}

/// logits = W2 act(W1 x), without bias (MoE++, Jin et al. 2024: tanh and a hidden width of 8 * experts; ModuleFormer,
/// Shen et al. 2023: GELU and 256, there with a bias in the hidden layer and dropout, which are left out). Keys:
/// MlpConfig. Parameters: hidden [H, D], weight [E, H].
std::unique_ptr<Scores> mlp_scores(const ScoresInput& input);

enum class MlpActivation { kTanh, kGelu };
constexpr std::array<const char*, 2> names_of(MlpActivation) { return {"tanh", "gelu"}; }

struct MlpConfig {
  int64_t hidden = 0;
  parallel::Enum<MlpActivation> activation = MlpActivation::kTanh;
};

template <class Visitor>
void visit(MlpConfig& config, Visitor& field) {
  field("hidden", config.hidden, parallel::between(0, 1 << 20), "its hidden width; 0: 8 * experts");
  field("activation", config.activation, parallel::anything(), "as MoE++ or as ModuleFormer");
}

/// A fixed expert for each token id (Roller et al. 2021, Hash Layers, random hash): Philox of (the model's seed, the
/// layer's name, token id), so the table costs no memory. logits are 0 for that expert and -1e4 for others: the
/// softmax is exactly one-hot, and finite. No parameters.
std::unique_ptr<Scores> hash_scores(const ScoresInput& input);

/// No preference: all logits 0. No parameters.
std::unique_ptr<Scores> uniform_scores(const ScoresInput& input);

}  // namespace moetrain
