#include "moetrain/layers/output_head.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "moetrain/fused/few_rows.h"
#include "moetrain/products/product_way.h"
#include "parallel/autograd/gradient_place.h"
#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/host_tensor.h"
#include "parallel/phases/phase.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// C tokens of a chunk, P passes over them
struct Chunk {
  const Vocabulary& vocabulary;
  int64_t begin = 0;
  at::Tensor column_C1;     // of the target; 0 where it is ignored or on another rank
  at::Tensor elsewhere_C1;  // bool: on another rank; undefined where all are here
  double label_smoothing = 0;
};

/// Per token, unscaled, ignored ones too.
struct ChunkLoss {
  at::Tensor cross_entropy_C, second_C, nll_C;
  at::Tensor correct_C;             // of one pass, without gradient
  std::vector<at::Tensor> grad_CW;  // of each pass's logits; empty without gradient
};

/// logits_CW: of each pass, in the model's type; may be overwritten.
using ChunkFunction = std::function<ChunkLoss(std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient)>;

/// Each pass's logits become log p, in at least float32; on the processor in their place.
void to_log_p(std::vector<at::Tensor>& logits_CW, const Vocabulary& vocabulary) {
  for (at::Tensor& pass : logits_CW) {
    pass = pass.to(at::toOpMathType(pass.scalar_type()));
    if (parallel::is_accelerator(pass.device())) {
      pass = vocabulary.log_softmax(pass);
    } else if (vocabulary.ranks() == 1) {
      at::log_softmax_out(pass, pass, 1);
    } else {
      pass.copy_(vocabulary.log_softmax(pass));
    }
  }
}

/// [C], over the whole vocabulary
at::Tensor mean_of(const at::Tensor& log_p_CW, const Vocabulary& vocabulary) {
  if (vocabulary.ranks() == 1) return log_p_CW.mean(1);
  return vocabulary.sum(log_p_CW).squeeze(1) / static_cast<double>(vocabulary.size());
}

at::Tensor nll_of(const at::Tensor& log_p_CW, const Chunk& chunk) {
  const at::Tensor nll_C = log_p_CW.gather(1, chunk.column_C1).squeeze(1).neg_();
  if (!chunk.elsewhere_C1.defined()) return nll_C;
  return chunk.vocabulary.total(nll_C.masked_fill(chunk.elsewhere_C1.squeeze(1), 0));
}

at::Tensor smoothed(const at::Tensor& nll_C, const at::Tensor& mean_log_p_C, double smoothing) {
  return smoothing == 0 ? nll_C : nll_C * (1 - smoothing) - mean_log_p_C * smoothing;
}

/// Adds the cross-entropy of one pass to `loss`.
void add_cross_entropy(const at::Tensor& log_p_CW, const Chunk& chunk, ChunkLoss& loss) {
  const at::Tensor nll_C = nll_of(log_p_CW, chunk);
  const double smoothing = chunk.label_smoothing;
  const at::Tensor mean_C = smoothing == 0 ? at::Tensor() : mean_of(log_p_CW, chunk.vocabulary);
  const at::Tensor term_C = smoothed(nll_C, mean_C, smoothing);
  loss.cross_entropy_C = loss.cross_entropy_C.defined() ? loss.cross_entropy_C + term_C : term_C;
  loss.nll_C = loss.nll_C.defined() ? loss.nll_C + nll_C : nll_C;
}

/// p becomes the gradient of the cross-entropy with respect to the logits: p minus the smoothed target.
void subtract_target_(at::Tensor& p_CW, const Chunk& chunk) {
  if (chunk.label_smoothing > 0) p_CW.sub_(chunk.label_smoothing / static_cast<double>(chunk.vocabulary.size()));
  at::Tensor less_C1 = at::full({}, chunk.label_smoothing - 1, p_CW.options()).expand(chunk.column_C1.sizes());
  if (chunk.elsewhere_C1.defined()) less_C1 = less_C1.masked_fill(chunk.elsewhere_C1, 0);
  p_CW.scatter_add_(1, chunk.column_C1, less_C1);
}

/// In one sweep over the logits, where they are on the processor; a whole row's in float32, wherever it lies.
ChunkLoss cross_entropy_of(std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient) {
  ChunkLoss loss;
  if (at::Tensor& logits = logits_CW[0]; parallel::has_loops(logits)) {
    if (!gradient || chunk.vocabulary.ranks() > 1) logits = logits.to(at::toOpMathType(logits.scalar_type()));
    const auto [nll_C, mean_log_p_C, correct_C] =
        chunk.vocabulary.cross_entropy_(logits, chunk.column_C1, chunk.elsewhere_C1, chunk.label_smoothing, gradient);
    loss.nll_C = nll_C;
    loss.cross_entropy_C = smoothed(nll_C, mean_log_p_C, chunk.label_smoothing);
    if (gradient) loss.grad_CW = {logits};
    if (!gradient) loss.correct_C = correct_C;
    return loss;
  }
  to_log_p(logits_CW, chunk.vocabulary);
  const std::vector<at::Tensor>& log_p_CW = logits_CW;
  add_cross_entropy(log_p_CW[0], chunk, loss);
  if (!gradient) {
    loss.correct_C = loss.nll_C <= -chunk.vocabulary.largest(log_p_CW[0]).squeeze(1);
    return loss;
  }
  at::Tensor grad_CW = log_p_CW[0].exp_();
  subtract_target_(grad_CW, chunk);
  loss.grad_CW = {std::move(grad_CW)};
  return loss;
}

/// With D = log p - log q, the gradient of the symmetric KL is (p (D - KL(p||q)) + p - q) / 2 for p's logits, and the
/// same with p and q exchanged for q's. Here summed up with the cross-entropy's p, so that each is made in few sweeps
/// over the vocabulary.
ChunkLoss two_pass_of(std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient, double alpha) {
  to_log_p(logits_CW, chunk.vocabulary);
  const std::vector<at::Tensor>& log_p_CW = logits_CW;
  ChunkLoss loss;
  for (const at::Tensor& pass : log_p_CW) add_cross_entropy(pass, chunk, loss);
  loss.nll_C = loss.nll_C * 0.5;
  const at::Tensor difference_CW = log_p_CW[0] - log_p_CW[1];
  const at::Tensor p_CW = log_p_CW[0].exp_(), q_CW = log_p_CW[1].exp_();
  const at::Tensor kl_pq_C1 = chunk.vocabulary.sum(p_CW * difference_CW);
  const at::Tensor kl_qp_C1 = chunk.vocabulary.sum(q_CW * difference_CW).neg_();
  const double half = 0.5 * alpha;
  loss.second_C = (kl_pq_C1 + kl_qp_C1).squeeze(1) * half;
  if (!gradient) return loss;
  at::Tensor grad_p_CW = at::add(1 + half - half * kl_pq_C1, difference_CW, half).mul_(p_CW).sub_(q_CW, half);
  at::Tensor grad_q_CW = difference_CW.mul_(-half).add_(1 + half - half * kl_qp_C1).mul_(q_CW).sub_(p_CW, half);
  subtract_target_(grad_p_CW, chunk);
  subtract_target_(grad_q_CW, chunk);
  loss.grad_CW = {std::move(grad_p_CW), std::move(grad_q_CW)};
  return loss;
}

ChunkLoss distillation_of(std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient,
                          const OutputHead::Teacher& teacher) {
  to_log_p(logits_CW, chunk.vocabulary);
  const std::vector<at::Tensor>& log_p_CW = logits_CW;
  const double temperature = teacher.temperature;
  const at::Tensor hidden = teacher.hidden_GD.narrow(0, chunk.begin, chunk.column_C1.size(0));
  const at::Tensor wanted_CW =
      chunk.vocabulary.log_softmax(teacher.head.logits(hidden, chunk.vocabulary) / temperature);
  // log_softmax of log p / T is that of logits / T: they differ by a constant of the row.
  const at::Tensor soft_CW = chunk.vocabulary.log_softmax(log_p_CW[0] / temperature);
  ChunkLoss loss;
  add_cross_entropy(log_p_CW[0], chunk, loss);
  const at::Tensor wanted_p_CW = wanted_CW.exp();
  const double weight = teacher.weight * temperature * temperature;
  loss.second_C = chunk.vocabulary.sum(wanted_p_CW * (wanted_CW - soft_CW)).squeeze(1) * weight;
  if (!gradient) return loss;
  at::Tensor grad_CW = log_p_CW[0].exp_();
  subtract_target_(grad_CW, chunk);
  loss.grad_CW = {grad_CW.add_(soft_CW.exp().sub_(wanted_p_CW), weight / temperature)};
  return loss;
}

class HeadLossFunction : public torch::autograd::Function<HeadLossFunction> {
 public:
  /// hidden_PGD: the passes' hidden states. of_weight: the weight wants its gradient too.
  static variable_list forward(AutogradContext* context, const Variable& hidden_PGD, const Variable& weight_WD,
                               const Vocabulary& vocabulary, const TargetTokens& targets, const ChunkFunction& function,
                               bool with_gradient, bool of_weight) {
    const int64_t passes = hidden_PGD.size(0), tokens = hidden_PGD.size(1);
    // Of the largest part of the vocabulary: the same chunks on every rank.
    const int64_t columns = (vocabulary.size() + vocabulary.ranks() - 1) / vocabulary.ranks();
    const int64_t size = OutputHead::tokens_of_chunk(!parallel::is_accelerator(hidden_PGD.device()),
                                                     hidden_PGD.scalar_type(), columns * passes);
    const auto options = hidden_PGD.options().dtype(at::toOpMathType(hidden_PGD.scalar_type()));
    const at::Tensor correct_G = at::zeros({with_gradient ? 0 : tokens}, options.dtype(at::kBool));
    const at::Tensor nll_G = at::zeros({tokens}, options), total = at::zeros({}, options), second = total.clone();
    bool rounds = false;  // sums that have no place
    at::Tensor grad_hidden_PGD, grad_weight_WD;
    if (with_gradient) {
      grad_hidden_PGD = at::empty_like(hidden_PGD);
      if (of_weight) grad_weight_WD = parallel::gradient_place(weight_WD, parallel::GradientWidth::kSummed);
      rounds = of_weight && !grad_weight_WD.defined();
      if (rounds) grad_weight_WD = at::empty(weight_WD.sizes(), options);
      if (of_weight && tokens == 0) grad_weight_WD.zero_();
    }
    // One for all chunks, on the processor: what is made of logits is made in their place.
    at::Tensor logits_PSW;
    if (!parallel::is_accelerator(hidden_PGD.device())) {
      logits_PSW = at::empty({passes, std::min(size, tokens), weight_WD.size(0)}, hidden_PGD.options());
    }
    for (int64_t begin = 0; begin < tokens; begin += size) {
      const int64_t count = std::min(size, tokens - begin);
      const at::Tensor hidden_PCD = hidden_PGD.narrow(1, begin, count);
      const at::Tensor target = targets.targets_G.narrow(0, begin, count).unsqueeze(1);
      const at::Tensor ignored = target == OutputHead::kIgnored;
      const at::Tensor known = target.masked_fill(ignored, 0);
      const Chunk chunk{vocabulary, begin, vocabulary.column(known), vocabulary.elsewhere(known),
                        targets.label_smoothing};
      std::vector<at::Tensor> logits_CW;
      for (int64_t p = 0; p < passes; ++p) {
        at::Tensor place_CW = logits_PSW.defined() ? logits_PSW[p].narrow(0, 0, count) : at::Tensor();
        logits_CW.push_back(place_CW.defined() ? at::mm_out(place_CW, hidden_PCD[p], weight_WD.t())
                                               : at::linear(hidden_PCD[p], weight_WD));
      }
      ChunkLoss loss = function(logits_CW, chunk, with_gradient);
      const at::Tensor unseen = ignored.squeeze(1);
      nll_G.narrow(0, begin, count).copy_(loss.nll_C.masked_fill(unseen, 0));
      if (loss.correct_C.defined()) correct_G.narrow(0, begin, count).copy_(loss.correct_C.logical_and(~unseen));
      total.add_(loss.cross_entropy_C.masked_fill(unseen, 0).sum());
      if (loss.second_C.defined()) second.add_(loss.second_C.masked_fill(unseen, 0).sum());
      for (size_t p = 0; p < loss.grad_CW.size(); ++p) {
        const at::Tensor hidden = hidden_PCD[static_cast<int64_t>(p)];
        const at::Tensor grad = loss.grad_CW[p].to(hidden.scalar_type());
        // Ignored tokens and the scale enter here, where a token has D numbers and not V.
        at::Tensor of_hidden = grad_hidden_PGD[static_cast<int64_t>(p)].narrow(0, begin, count);
        of_hidden.copy_(at::mm(grad, weight_WD).masked_fill_(ignored, 0).mul_(targets.scale));
        const SumFactors factors{targets.scale, begin == 0 && p == 0 ? 0.0 : 1.0};
        if (of_weight) add_weight_gradient(grad, hidden.masked_fill(ignored, 0), factors, grad_weight_WD);
      }
    }
    if (with_gradient) {
      context->saved_data["hidden"] = grad_hidden_PGD;
      context->saved_data["weight"] = rounds ? grad_weight_WD.to(weight_WD.scalar_type()) : grad_weight_WD;
    }
    total.mul_(targets.scale).add_(second.mul_(targets.scale));
    if (!vocabulary.reports()) total.zero_(), second.zero_();  // the value is the group's, the gradient this rank's
    context->mark_non_differentiable({second, nll_G, correct_G});
    return {total, second, nll_G, correct_G};
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const at::Tensor& factor = grad_outputs[0];
    const bool same = parallel::has_loops(factor) && factor.item<double>() == 1;  // mostly; a head's weights are many
    const auto of = [&](const char* which) {
      const auto saved = context->saved_data.find(which);
      parallel::check_internal(saved != context->saved_data.end(), "OutputHead: backward again, of a graph not kept");
      at::Tensor gradient = saved->second.toTensor();  // given away: it may lie where others are added to it
      const bool keep = torch::autograd::get_current_graph_task_keep_graph();
      if (keep && gradient.defined()) saved->second = gradient.clone();
      if (!keep) context->saved_data.erase(saved);
      return same || !gradient.defined() ? gradient : gradient.mul_(factor.to(gradient.scalar_type()));
    };
    return {of("hidden"), of("weight"), Variable(), Variable(), Variable(), Variable(), Variable()};
  }

 private:
  static void add_weight_gradient(const at::Tensor& grad_CW, const at::Tensor& hidden_CD, const SumFactors& factors,
                                  at::Tensor& grad_weight_WD) {
    if (grad_weight_WD.scalar_type() == hidden_CD.scalar_type()) {
      grad_weight_WD.addmm_(grad_CW.t(), hidden_CD, factors.kept, factors.product);
      return;
    }
    if (multiply_wide(grad_weight_WD, grad_CW.t(), hidden_CD, factors)) return;
    if (factors.kept == 0) grad_weight_WD.zero_();
    grad_weight_WD.add_(at::mm(grad_CW.t(), hidden_CD), factors.product);
  }
};

HeadLoss loss_of(const std::vector<at::Tensor>& hidden_PTD, const at::Tensor& weight_WD, const Vocabulary& vocabulary,
                 const TargetTokens& targets, const ChunkFunction& function) {
  const parallel::TokenParts parts = vocabulary.parts(targets.targets_G.size(0));
  std::vector<at::Tensor> all;
  for (const at::Tensor& hidden_TD : hidden_PTD) all.push_back(parts.gather(hidden_TD));
  const at::Tensor hidden_PGD = all.size() == 1 ? all.front().unsqueeze(0) : at::stack(all);
  const variable_list result =
      HeadLossFunction::apply(hidden_PGD, weight_WD, vocabulary, targets, function,
                              /*with_gradient=*/at::GradMode::is_enabled(), /*of_weight=*/weight_WD.requires_grad());
  HeadLoss loss{.share = result[0], .second = result[1], .nll_T = parts.own(result[2])};
  if (result[3].numel() == result[2].numel()) loss.correct_T = parts.own(result[3]);
  return loss;
}

}  // namespace

int64_t OutputHead::tokens_of_chunk(bool cpu, at::ScalarType type, int64_t logits_per_token) {
  return std::max<int64_t>(cpu && type == at::kBFloat16 ? 1024 : 256,
                           (int64_t{1} << (cpu ? 18 : 26)) / std::max<int64_t>(1, logits_per_token));
}

OutputHead::OutputHead(const ParameterSource& source, int64_t width, int64_t vocabulary, double std)
    : vocabulary_(vocabulary, source.mesh()),
      weight_WD_(register_parameter("weight", source.spread("weight", {vocabulary, width}, 0, std))) {
  source.call_vectors("weight");
}

std::shared_ptr<OutputHead> OutputHead::of_classes(const ParameterSource& source, int64_t width, int64_t classes,
                                                   double std) {
  auto head = std::make_shared<OutputHead>(source.normal("weight", {classes, width}, std));
  head->register_parameter("weight", head->weight_WD_);
  source.call_vectors("weight");
  if (source.mesh()->shape().tensor > 1) head->shares_targets_ = source.mesh();
  return head;
}

OutputHead::OutputHead(at::Tensor embedding_WD, Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), weight_WD_(std::move(embedding_WD)) {}

OutputHead::OutputHead(at::Tensor embedding_VD) : OutputHead(embedding_VD, Vocabulary(embedding_VD.size(0))) {}

at::Tensor OutputHead::own(const at::Tensor& of_group) const {
  if (shares_targets_ == nullptr) return of_group;
  return parallel::TokenParts(shares_targets_->tensor(), of_group.size(0)).own(of_group);
}

TargetTokens OutputHead::own(TargetTokens targets) const {
  targets.targets_G = own(targets.targets_G);
  return targets;
}

HeadLoss OutputHead::cross_entropy(const at::Tensor& hidden_TD, const TargetTokens& targets) const {
  const parallel::Phase phase(parallel::PhaseName::kHead);
  return loss_of({hidden_TD}, weight_WD_, vocabulary_, own(targets), &cross_entropy_of);
}

HeadLoss OutputHead::two_pass(const at::Tensor& hidden_p_TD, const at::Tensor& hidden_q_TD, const TargetTokens& targets,
                              double alpha) const {
  const parallel::Phase phase(parallel::PhaseName::kHead);
  return loss_of({hidden_p_TD, hidden_q_TD}, weight_WD_, vocabulary_, own(targets),
                 [alpha](std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient) {
                   return two_pass_of(logits_CW, chunk, gradient, alpha);
                 });
}

HeadLoss OutputHead::distillation(const at::Tensor& hidden_TD, const Teacher& given,
                                  const TargetTokens& targets) const {
  const parallel::Phase phase(parallel::PhaseName::kHead);
  Teacher teacher = given;
  teacher.hidden_GD = own(given.hidden_GD);
  return loss_of({hidden_TD}, weight_WD_, vocabulary_, own(targets),
                 [&teacher](std::vector<at::Tensor>& logits_CW, const Chunk& chunk, bool gradient) {
                   const at::NoGradGuard no_gradient;
                   return distillation_of(logits_CW, chunk, gradient, teacher);
                 });
}

at::Tensor OutputHead::logits(const at::Tensor& hidden_ND) const { return logits(hidden_ND, vocabulary_); }

at::Tensor OutputHead::logits(const at::Tensor& hidden_ND, const Vocabulary& columns) const {
  parallel::check_internal(vocabulary_.ranks() == 1, "OutputHead: this rank has ", vocabulary_.count(), " of ",
                           vocabulary_.size(), " logits");
  const at::Tensor weight = columns.ranks() == 1 ? weight_WD_ : weight_WD_.narrow(0, columns.first(), columns.count());
  if (has_few_rows(hidden_ND, weight)) return few_rows_linear(hidden_ND, weight, {});
  return at::linear(hidden_ND, weight).to(at::toOpMathType(hidden_ND.scalar_type()));
}

}  // namespace moetrain
