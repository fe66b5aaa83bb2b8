// defines: OutputHead, TargetTokens: hidden states -> losses over the vocabulary in chunks, or logits for decoding
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"
#include "moetrain/layers/vocabulary.h"

namespace moetrain {

// T tokens of this rank, G of its tensor group, D model width, V vocabulary, W of it on this rank

/// What is to be predicted.
struct TargetTokens {
  at::Tensor targets_G;  // int64, OutputHead::kIgnored where there is none
  double scale = 1.0;    // of every term, so that it is a share of the update's loss
  /// Szegedy et al. 2016: the target's probability is 1 - label_smoothing + label_smoothing / V, every other token's
  /// label_smoothing / V.
  double label_smoothing = 0.0;
};

struct HeadLoss {
  at::Tensor share;   // scalar: the sum of all terms over the counted targets, times scale; differentiable. Of a tensor
                      // group's targets: on its first rank, 0 on the others, with the gradients of each rank's weights
  at::Tensor second;  // scalar: that part of it which is not cross-entropy, weight included; no gradient
  at::Tensor nll_T;   // -log p(target) per token in at least float32, 0 where ignored, without smoothing; no gradient
  at::Tensor correct_T;  // bool: nothing is more probable than the target; of cross_entropy without gradient
};

/// Losses over the vocabulary without ever holding all logits: chunks of tokens, whose gradients are formed while their
/// logits are at hand. Softmax in at least float32.
/// A tensor group shares the vocabulary: each rank computes its columns of the logits of all the group's tokens, and
/// what the softmax needs of the others' is all-reduced, so that no rank holds a whole row. Hidden states are then this
/// rank's, targets the group's, and all losses collective over the group, forward and backward.
class OutputHead : public torch::nn::Module {
 public:
  static constexpr int64_t kIgnored = -100;

  /// Tokens whose logits are at hand together, of so many logits each over all passes. Each chunk sweeps the gradient
  /// of the head's weights once. On a CPU as many as its second cache holds with what is made of them, but enough for
  /// the multiplications to hide that sweep, of bf16, which are many times as fast, four times as many; on a GPU 256
  /// MiB of float32.
  static int64_t tokens_of_chunk(bool cpu, at::ScalarType type, int64_t logits_per_token);

  /// A head of its own: weight [V, D], spread over the source's tensor group.
  OutputHead(const ParameterSource& source, int64_t width, int64_t vocabulary, double std);
  /// For classes, which are few: weight [C, D], whole on every rank of the tensor group, each of which sees its own
  /// part of the targets alone and reports its share of the loss.
  static std::shared_ptr<OutputHead> of_classes(const ParameterSource& source, int64_t width, int64_t classes,
                                                double std);
  /// Shares `embedding_WD`; registers no parameter.
  OutputHead(at::Tensor embedding_WD, Vocabulary vocabulary);
  /// Of the whole vocabulary.
  explicit OutputHead(at::Tensor embedding_VD);

  HeadLoss cross_entropy(const at::Tensor& hidden_TD, const TargetTokens& targets) const;

  /// Two passes p, q over the same tokens: CE(p) + CE(q) + alpha * (1/2) sum over v of (p - q)(log p - log q), the
  /// symmetric KL divergence; both passes receive its gradient (THOR, Zuo et al. 2022; R-Drop, Liang et al. 2021).
  /// nll_T is the mean of the two.
  HeadLoss two_pass(const at::Tensor& hidden_p_TD, const at::Tensor& hidden_q_TD, const TargetTokens& targets,
                    double alpha) const;

  struct Teacher {
    at::Tensor hidden_GD;    // the teacher's hidden states for the tokens of the targets
    const OutputHead& head;  // of the whole vocabulary
    double weight = 1.0;
    double temperature = 1.0;
  };
  /// CE + weight * T^2 * KL(softmax(teacher / T) || softmax(logits / T)), no gradient to the teacher (Hinton et al.
  /// 2015).
  HeadLoss distillation(const at::Tensor& hidden_TD, const Teacher& teacher, const TargetTokens& targets) const;

  /// [N, D] -> [N, V], in at least float32. @pre the whole vocabulary is here
  at::Tensor logits(const at::Tensor& hidden_ND) const;
  /// Of the columns only that a rank has in another model's vocabulary: [N, D] -> [N, W]
  at::Tensor logits(const at::Tensor& hidden_ND, const Vocabulary& columns) const;

 private:
  /// Of what the tensor group is given, what this rank's losses are of.
  at::Tensor own(const at::Tensor& of_group) const;
  TargetTokens own(TargetTokens targets) const;

  Vocabulary vocabulary_;
  at::Tensor weight_WD_;
  std::shared_ptr<const parallel::Mesh> shares_targets_;  // of a head that is whole in a tensor group; else null
};

}  // namespace moetrain
