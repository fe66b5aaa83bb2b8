#include "moetrain/layers/output_head.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// Tokens whose logits are at hand together: on a CPU as many as its second cache holds with what is made of them, but
/// enough for the matrix multiplications; on a GPU 16 MiB of float32.
int64_t tokens_of_chunk(const at::Tensor& hidden, int64_t logits_per_token) {
  const bool cpu = hidden.device().is_cpu();
  return std::max<int64_t>(cpu ? 64 : 1, (int64_t{1} << (cpu ? 18 : 22)) / logits_per_token);
}

at::ScalarType at_least_float(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

// C tokens of a chunk, P passes over them

struct Chunk {
  int64_t begin = 0;
  at::Tensor target_C1;   // 0 where ignored
  at::Tensor ignored_C1;  // bool
  double label_smoothing = 0;
};

/// Per token, unscaled, ignored ones too.
struct ChunkLoss {
  at::Tensor cross_entropy_C, second_C, nll_C;
  std::vector<at::Tensor> grad_CV;  // of each pass's logits; empty without gradient
};

/// log_p_CV: of each pass; may be overwritten.
using ChunkFunction = std::function<ChunkLoss(std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient)>;

at::Tensor nll_of(const at::Tensor& log_p_CV, const Chunk& chunk) {
  return log_p_CV.gather(1, chunk.target_C1).squeeze(1).neg_();
}

/// Adds the cross-entropy of one pass to `loss`.
void add_cross_entropy(const at::Tensor& log_p_CV, const Chunk& chunk, ChunkLoss& loss) {
  const at::Tensor nll_C = nll_of(log_p_CV, chunk);
  const double smoothing = chunk.label_smoothing;
  const at::Tensor term_C = smoothing == 0 ? nll_C : nll_C * (1 - smoothing) - log_p_CV.mean(1) * smoothing;
  loss.cross_entropy_C = loss.cross_entropy_C.defined() ? loss.cross_entropy_C + term_C : term_C;
  loss.nll_C = loss.nll_C.defined() ? loss.nll_C + nll_C : nll_C;
}

/// p becomes the gradient of the cross-entropy with respect to the logits: p minus the smoothed target.
void subtract_target_(at::Tensor& p_CV, const Chunk& chunk) {
  if (chunk.label_smoothing > 0) p_CV.sub_(chunk.label_smoothing / static_cast<double>(p_CV.size(1)));
  p_CV.scatter_add_(1, chunk.target_C1,
                    at::full({}, chunk.label_smoothing - 1, p_CV.options()).expand(chunk.target_C1.sizes()));
}

ChunkLoss cross_entropy_of(std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient) {
  ChunkLoss loss;
  add_cross_entropy(log_p_CV[0], chunk, loss);
  if (!gradient) return loss;
  at::Tensor grad_CV = log_p_CV[0].exp_();
  subtract_target_(grad_CV, chunk);
  loss.grad_CV = {std::move(grad_CV)};
  return loss;
}

/// With D = log p - log q, the gradient of the symmetric KL is (p (D - KL(p||q)) + p - q) / 2 for p's logits, and the
/// same with p and q exchanged for q's. Here summed up with the cross-entropy's p, so that each is made in few sweeps
/// over the vocabulary.
ChunkLoss two_pass_of(std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient, double alpha) {
  ChunkLoss loss;
  for (const at::Tensor& pass : log_p_CV) add_cross_entropy(pass, chunk, loss);
  loss.nll_C = loss.nll_C * 0.5;
  const at::Tensor difference_CV = log_p_CV[0] - log_p_CV[1];
  const at::Tensor p_CV = log_p_CV[0].exp_(), q_CV = log_p_CV[1].exp_();
  const at::Tensor kl_pq_C1 = (p_CV * difference_CV).sum(1, /*keepdim=*/true);
  const at::Tensor kl_qp_C1 = (q_CV * difference_CV).sum(1, /*keepdim=*/true).neg_();
  const double half = 0.5 * alpha;
  loss.second_C = (kl_pq_C1 + kl_qp_C1).squeeze(1) * half;
  if (!gradient) return loss;
  at::Tensor grad_p_CV = at::add(1 + half - half * kl_pq_C1, difference_CV, half).mul_(p_CV).sub_(q_CV, half);
  at::Tensor grad_q_CV = difference_CV.mul_(-half).add_(1 + half - half * kl_qp_C1).mul_(q_CV).sub_(p_CV, half);
  subtract_target_(grad_p_CV, chunk);
  subtract_target_(grad_q_CV, chunk);
  loss.grad_CV = {std::move(grad_p_CV), std::move(grad_q_CV)};
  return loss;
}

ChunkLoss distillation_of(std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient,
                          const OutputHead::Teacher& teacher) {
  const double temperature = teacher.temperature;
  const at::Tensor hidden = teacher.hidden_TD.narrow(0, chunk.begin, chunk.target_C1.size(0));
  const at::Tensor wanted_CV = at::log_softmax(teacher.head.logits(hidden) / temperature, 1);
  // log_softmax of log p / T is that of logits / T: they differ by a constant of the row.
  const at::Tensor soft_CV = at::log_softmax(log_p_CV[0] / temperature, 1);
  ChunkLoss loss;
  add_cross_entropy(log_p_CV[0], chunk, loss);
  const at::Tensor wanted_p_CV = wanted_CV.exp();
  const double weight = teacher.weight * temperature * temperature;
  loss.second_C = (wanted_p_CV * (wanted_CV - soft_CV)).sum(1) * weight;
  if (!gradient) return loss;
  at::Tensor grad_CV = log_p_CV[0].exp_();
  subtract_target_(grad_CV, chunk);
  loss.grad_CV = {grad_CV.add_(soft_CV.exp().sub_(wanted_p_CV), weight / temperature)};
  return loss;
}

class HeadLossFunction : public torch::autograd::Function<HeadLossFunction> {
 public:
  /// hidden_PTD: the passes' hidden states.
  static variable_list forward(AutogradContext* context, const Variable& hidden_PTD, const Variable& weight_VD,
                               const TargetTokens& targets, const ChunkFunction& function, bool with_gradient) {
    const int64_t passes = hidden_PTD.size(0), tokens = hidden_PTD.size(1), vocabulary = weight_VD.size(0);
    const at::ScalarType wide = at_least_float(hidden_PTD.scalar_type());
    const int64_t size = tokens_of_chunk(hidden_PTD, vocabulary * passes);
    const auto options = hidden_PTD.options().dtype(wide);
    const at::Tensor nll_T = at::zeros({tokens}, options), total = at::zeros({}, options),
                     second = at::zeros({}, options);
    at::Tensor grad_hidden_PTD, grad_weight_VD;
    if (with_gradient) {
      grad_hidden_PTD = at::empty_like(hidden_PTD);
      grad_weight_VD = at::zeros(weight_VD.sizes(), options);
    }
    for (int64_t begin = 0; begin < tokens; begin += size) {
      const int64_t count = std::min(size, tokens - begin);
      const at::Tensor hidden_PCD = hidden_PTD.narrow(1, begin, count);
      const at::Tensor target = targets.targets_T.narrow(0, begin, count).unsqueeze(1);
      const at::Tensor ignored = target == OutputHead::kIgnored;
      const Chunk chunk{begin, target.masked_fill(ignored, 0), ignored, targets.label_smoothing};
      std::vector<at::Tensor> log_p_CV;
      for (int64_t p = 0; p < passes; ++p) {
        log_p_CV.push_back(at::log_softmax(at::linear(hidden_PCD[p], weight_VD).to(wide), 1));
      }
      ChunkLoss loss = function(log_p_CV, chunk, with_gradient);
      const at::Tensor unseen = ignored.squeeze(1);
      nll_T.narrow(0, begin, count).copy_(loss.nll_C.masked_fill(unseen, 0));
      total.add_(loss.cross_entropy_C.masked_fill(unseen, 0).sum());
      if (loss.second_C.defined()) second.add_(loss.second_C.masked_fill(unseen, 0).sum());
      for (size_t p = 0; p < loss.grad_CV.size(); ++p) {
        const at::Tensor hidden = hidden_PCD[static_cast<int64_t>(p)];
        const at::Tensor grad = loss.grad_CV[p].to(hidden.scalar_type());
        // Ignored tokens and the scale enter here, where a token has D numbers and not V.
        grad_hidden_PTD[static_cast<int64_t>(p)]
            .narrow(0, begin, count)
            .copy_(at::mm(grad, weight_VD).masked_fill_(ignored, 0).mul_(targets.scale));
        add_weight_gradient(grad, hidden.masked_fill(ignored, 0), targets.scale, grad_weight_VD);
      }
    }
    if (with_gradient) {
      context->save_for_backward({grad_hidden_PTD, grad_weight_VD.to(weight_VD.scalar_type())});
    }
    second.mul_(targets.scale);
    context->mark_non_differentiable({second, nll_T});
    return {total.mul_(targets.scale).add_(second), second, nll_T};
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor factor = grad_outputs[0].to(saved[0].scalar_type());
    return {saved[0] * factor, saved[1] * factor, Variable(), Variable(), Variable()};
  }

 private:
  static void add_weight_gradient(const at::Tensor& grad_CV, const at::Tensor& hidden_CD, double scale,
                                  at::Tensor& grad_weight_VD) {
    if (grad_weight_VD.scalar_type() == hidden_CD.scalar_type()) {
      grad_weight_VD.addmm_(grad_CV.t(), hidden_CD, 1, scale);
    } else {
      grad_weight_VD.add_(at::mm(grad_CV.t(), hidden_CD), scale);
    }
  }
};

HeadLoss loss_of(const at::Tensor& hidden_PTD, const at::Tensor& weight_VD, const TargetTokens& targets,
                 const ChunkFunction& function) {
  const variable_list result =
      HeadLossFunction::apply(hidden_PTD, weight_VD, targets, function, at::GradMode::is_enabled());
  return {.share = result[0], .second = result[1], .nll_T = result[2]};
}

}  // namespace

OutputHead::OutputHead(const ParameterSource& source, int64_t width, int64_t vocabulary, double std)
    : weight_VD_(register_parameter("weight", source.normal("weight", {vocabulary, width}, std))) {}

OutputHead::OutputHead(at::Tensor embedding_VD) : weight_VD_(std::move(embedding_VD)) {}

HeadLoss OutputHead::cross_entropy(const at::Tensor& hidden_TD, const TargetTokens& targets) const {
  return loss_of(hidden_TD.unsqueeze(0), weight_VD_, targets, &cross_entropy_of);
}

HeadLoss OutputHead::two_pass(const at::Tensor& hidden_p_TD, const at::Tensor& hidden_q_TD, const TargetTokens& targets,
                              double alpha) const {
  return loss_of(at::stack({hidden_p_TD, hidden_q_TD}), weight_VD_, targets,
                 [alpha](std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient) {
                   return two_pass_of(log_p_CV, chunk, gradient, alpha);
                 });
}

HeadLoss OutputHead::distillation(const at::Tensor& hidden_TD, const Teacher& teacher,
                                  const TargetTokens& targets) const {
  return loss_of(hidden_TD.unsqueeze(0), weight_VD_, targets,
                 [&teacher](std::vector<at::Tensor>& log_p_CV, const Chunk& chunk, bool gradient) {
                   const at::NoGradGuard no_gradient;
                   return distillation_of(log_p_CV, chunk, gradient, teacher);
                 });
}

at::Tensor OutputHead::logits(const at::Tensor& hidden_ND) const {
  return at::linear(hidden_ND, weight_VD_).to(at_least_float(hidden_ND.scalar_type()));
}

}  // namespace moetrain
