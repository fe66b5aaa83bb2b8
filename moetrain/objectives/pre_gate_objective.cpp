// The router at a model's entrance learns whose hidden units a token makes fire (Read-ME, Cai et al. 2024).
#include "moetrain/objectives/pre_gate_objective.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "moetrain/moe/expert_blocks.h"
#include "moetrain/moe/layer_observer.h"
#include "moetrain/objectives/terms.h"
#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

// G tokens of a tensor group, T of them this rank's; E experts, F hidden units of a dense feed-forward

constexpr int64_t kGrades = 5;

/// Collects of a dense model what expert_scores makes of each of its feed-forwards, in the order of blocks.
class ScoredUnits : public LayerObserver {
 public:
  explicit ScoredUnits(const at::Tensor& private_LEF) : private_LEF_(private_LEF) {}
  void see(const ObservedFeedForward& layer) override {
    score_LGE.push_back(expert_scores(layer.hidden_TF, private_LEF_[std::ssize(score_LGE)]));
  }
  void see(const ObservedExperts&) override {
    parallel::check_internal(false, "the teacher of a pre-gating router has experts");
  }

  std::vector<at::Tensor> score_LGE;  // of each layer

 private:
  const at::Tensor& private_LEF_;
};

class PreGateObjective : public Objective {
 public:
  explicit PreGateObjective(const ObjectiveInput& input)
      : label_smoothing_(input.config.label_smoothing),
        own_(input.config.own<PreGateObjectiveConfig>()),
        teacher_(input.teacher),
        mesh_(input.mesh) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    ModelOutput output = model.forward(batch.inputs, pass);
    const HeadLoss loss = model.head().cross_entropy(output.hidden_TD, targets_of(batch, scale, label_smoothing_));
    LossTerms losses;
    losses.add(cross_entropy_name(batch), loss.share);
    const double weight = own_.weight.at(pass.update);
    if (weight > 0) {
      losses.add("pre_gate", share(model, output, batch, pass) * (weight / static_cast<double>(scale.micro_batches)));
    }
    return with_layers(std::move(losses), loss, std::move(output), scale);
  }

 private:
  /// Summed over layers, a mean over the micro-batch's tokens: what this rank's add.
  at::Tensor share(const Model& model, const ModelOutput& output, const Batch& batch, const PassScope& pass) const {
    parallel::check_internal(teacher_ != nullptr && model.pre_gate() != nullptr,
                             "nothing to teach, or nobody who does");
    const std::vector<at::Tensor> score_LTE = scores(model, batch, pass);
    at::Tensor sum;
    size_t layer = 0;
    for (const LayerRouting& routed : output.routing) {
      const at::Tensor term = pre_gate_losses(routed.decision.logits_TE, score_LTE.at(layer++), own_).sum();
      sum = sum.defined() ? sum + term : term;
    }
    return sum / static_cast<double>(batch.inputs.tokens.global_tokens);
  }

  /// What the whole teacher, which every rank of a tensor group asks for all the group's tokens, says of this rank's.
  std::vector<at::Tensor> scores(const Model& model, const Batch& batch, const PassScope& pass) const {
    const at::NoGradGuard no_gradient;
    const bool groups = mesh_ != nullptr && mesh_->shape().tensor > 1;
    ScoredUnits scored(model.pre_gate()->private_LEF());
    const PassScope evaluating{
        .group = groups ? mesh_->data() : pass.group, .draws = pass.draws, .update = pass.update, .observer = &scored};
    teacher_->forward(batch.inputs, evaluating);
    const parallel::TokenParts parts = model.parts(batch.inputs.tokens.sequences.tokens());
    std::vector<at::Tensor> own;
    for (const at::Tensor& score_GE : scored.score_LGE) {
      at::Tensor mean_E = score_GE.sum(0);
      evaluating.group.all_reduce(mean_E, parallel::ReduceOp::kSum).wait();
      mean_E /= static_cast<double>(batch.inputs.tokens.global_tokens);
      own.push_back(parts.own(own_.sharpness * (score_GE - mean_E)));
    }
    return own;
  }

  double label_smoothing_;
  PreGateObjectiveConfig own_;
  std::shared_ptr<Model> teacher_;
  std::shared_ptr<const parallel::Mesh> mesh_;
};

void check_pre_gate_teacher(const ObjectiveConfig& config) {
  if (!config.own<PreGateObjectiveConfig>().teacher.empty()) return;
  parallel::user_error("objective.kind = \"pre_gate\" needs objective.pre_gate.teacher, the run folder of the dense ",
                       "model whose hidden units the experts have");
}

void check_pre_gate_pupil(const ModelConfig& model, const MoeConfig& moe) {
  const std::vector<MoeConfig> layers = all_layer_configs(moe, total_blocks(model));
  const std::vector<MoeConfig> shared = pre_gated_layers(layers);
  const bool of_attention = std::ranges::any_of(layers, [](const auto& each) { return each.slot == Slot::kAttention; });
  if (of_attention || shared.size() != layers.size() || std::ssize(shared) != total_blocks(model)) {
    parallel::user_error("objective.kind = \"pre_gate\" with ", shared.size(), " of ", total_blocks(model),
                         " blocks whose ",
                         "experts have moe.router = \"pre_gated\"; legal: all of them, as `transform --operation ",
                         "select` leaves them");
  }
  if (shared.front().own<PreGateConfig>().units > 0) return;
  parallel::user_error(
      "objective.kind = \"pre_gate\" with moe.pre_gated.units = 0: nobody knows which hidden units the ",
      "experts have; legal: a model that `transform --operation select` made");
}

void check_fits(const TeacherFit& fit) {
  const auto layers = all_layer_configs(fit.moe, total_blocks(fit.model));
  const int64_t units = pre_gated_layers(layers).front().own<PreGateConfig>().units;
  const bool has_experts = !all_layer_configs(fit.teacher_moe, total_blocks(fit.teacher)).empty();
  if (!has_experts && fit.teacher.layers == fit.model.layers && fit.teacher.ffn_hidden == units) return;
  parallel::user_error("objective.pre_gate.teacher has ", fit.teacher.layers, " blocks",
                       has_experts ? ", some with experts" : "", ", and feed-forwards of ", fit.teacher.ffn_hidden,
                       " hidden units; legal: the dense model of ", fit.model.layers, " blocks and ", units,
                       " hidden units that the experts were selected from");
}

}  // namespace

at::Tensor expert_scores(const at::Tensor& hidden_GF, const at::Tensor& private_EF) {
  const auto units = private_EF.sum(1).max().item<double>();  // m; an expert has as many as any other
  const auto m = static_cast<int64_t>(std::llround(units));
  const auto numbers = private_EF.options();
  if (m == 0 || hidden_GF.size(0) == 0) return at::zeros({hidden_GF.size(0), private_EF.size(0)}, numbers);
  at::Tensor grade_M = at::zeros({m}, numbers);
  for (int64_t grade = 1; grade <= kGrades; ++grade) {
    grade_M.narrow(0, 0, std::max<int64_t>(1, m * grade / kGrades)).add_(1.0 / (3.0 * units));
  }
  const at::ScalarType computed_in = hidden_GF.scalar_type();
  const at::Tensor wide_GF = hidden_GF.to(private_EF.scalar_type());
  const at::Tensor largest_GM = largest_k(by_difference(wide_GF, computed_in), m);
  const at::Tensor graded_GF =
      at::zeros(wide_GF.sizes(), numbers).scatter_(1, largest_GM, grade_M.expand_as(largest_GM));
  return graded_GF.matmul(private_EF.t());
}

at::Tensor pre_gate_losses(const at::Tensor& logits_TE, const at::Tensor& score_TE,
                           const PreGateObjectiveConfig& config) {
  const at::Tensor log_TE = logits_TE.log_softmax(1);
  const at::Tensor best_T1 = largest_k(by_difference(score_TE, score_TE.scalar_type()), 1);
  const double smoothing = config.smoothing;
  const at::Tensor hard_T = -(1 - smoothing) * log_TE.gather(1, best_T1).squeeze(1) - smoothing * log_TE.mean(1);
  const at::Tensor soft_T = -(score_TE.softmax(1).to(log_TE.scalar_type()) * log_TE).sum(1);
  return config.hard * hard_T + (1 - config.hard) * soft_T;
}

ObjectivePreset pre_gate_objective() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
            return std::make_unique<PreGateObjective>(input);
          },
          .costs = {.losses = 2},
          .teacher = [](const ObjectiveConfig& config) { return config.own<PreGateObjectiveConfig>().teacher; },
          .check_pupil = check_pre_gate_pupil,
          .check_teacher = check_fits,
          .keys = parallel::own_keys_of<PreGateObjectiveConfig>,
          .check = check_pre_gate_teacher};
}

}  // namespace moetrain
