// defines: Muon, MuonConfig, visit, muon_rule, nearly_orthogonal
#pragma once
#include <vector>

#include "optim/updates/update.h"

namespace optim {

struct MuonConfig {
  double momentum = 0.95;
  bool nesterov = true;
  int64_t steps = 5;
  double rms = 0.2;
};

template <class Visitor>
void visit(MuonConfig& config, Visitor& field) {
  using namespace parallel;
  field("momentum", config.momentum, half_open(0, 1), "decay of the sum of gradients");
  field("nesterov", config.nesterov, anything(), "looks ahead: the gradient and momentum times that sum");
  field("steps", config.steps, between(1, 100), "Newton-Schulz steps towards the nearest orthogonal matrix");
  field("rms", config.rms, above(0),
        "root mean square of an update's elements before the learning rate; AdamW's is 0.2 to 0.4");
}

/// Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"), scaled as in Moonlight (Liu et
/// al. 2025, "Muon is scalable for LLM training", equation 4), so that AdamW's learning rate and decay fit:
/// m = mu m + g;  o = nearly_orthogonal(g + mu m, or m);  w -= lr (rms sqrt(max(R, C)) o + decay w).
/// Each of stacked matrices [N, R, C] by itself. Slots: momentum.
class Muon : public Update {
 public:
  /// UserError where a parameter holds no matrices.
  Muon(std::vector<Parameter> parameters, const OptimizerConfig& config);
  /// Collective over those who hold other parts of the matrices; each of them then makes the whole update.
  void step(const std::vector<at::Tensor>& gradients, const UpdateStep& step) override;

 private:
  OptimizerConfig config_;
};

UpdateRule muon_rule();

/// U V^T of the singular value decomposition U S V^T, nearly: singular values between 0.68 and 1.14 after 5 steps, of
/// those that were at least 1e-3 of the root of their squares' sum. [N, R, C] -> [N, R, C].
/// X <- a X + (b A + c A^2) X with A = X X^T, from the matrix over its norm; (a, b, c) = (3.4445, -4.775, 2.0315).
at::Tensor nearly_orthogonal(const at::Tensor& matrices_NRC, int64_t steps);

}  // namespace optim
