#include "moetrain/layers/output_head.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kLogitsPerChunk = int64_t{1} << 22;  // 16 MiB of float32

at::ScalarType at_least_float(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

class CrossEntropyFunction : public torch::autograd::Function<CrossEntropyFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Variable& hidden_TD, const Variable& weight_VD,
                               const Variable& targets_T, double scale, bool with_gradient) {
    const int64_t tokens = hidden_TD.size(0), vocabulary = weight_VD.size(0);
    const at::ScalarType wide = at_least_float(hidden_TD.scalar_type());
    const int64_t chunk = std::max<int64_t>(1, kLogitsPerChunk / vocabulary);
    const at::Tensor nll_T = at::zeros({tokens}, hidden_TD.options().dtype(wide));
    at::Tensor grad_hidden_TD, grad_weight_VD;
    if (with_gradient) {
      grad_hidden_TD = at::empty_like(hidden_TD);
      grad_weight_VD = at::zeros(weight_VD.sizes(), weight_VD.options().dtype(wide));
    }
    for (int64_t begin = 0; begin < tokens; begin += chunk) {
      const int64_t count = std::min(chunk, tokens - begin);
      const at::Tensor hidden = hidden_TD.narrow(0, begin, count);
      const at::Tensor target = targets_T.narrow(0, begin, count);
      const at::Tensor ignored = target == OutputHead::kIgnored;
      const at::Tensor safe_target = target.masked_fill(ignored, 0).unsqueeze(1);
      at::Tensor log_p = at::log_softmax(at::linear(hidden, weight_VD).to(wide), 1);
      nll_T.narrow(0, begin, count).copy_(log_p.gather(1, safe_target).squeeze(1).neg_().masked_fill_(ignored, 0));
      if (!with_gradient) continue;
      at::Tensor grad = log_p.exp_();
      grad.scatter_(1, safe_target, grad.gather(1, safe_target).sub_(1.0));
      grad.mul_(scale).masked_fill_(ignored.unsqueeze(1), 0);
      const at::Tensor grad_narrow = grad.to(hidden.scalar_type());
      grad_hidden_TD.narrow(0, begin, count).copy_(at::mm(grad_narrow, weight_VD));
      if (wide == hidden.scalar_type()) {
        grad_weight_VD.addmm_(grad_narrow.t(), hidden);
      } else {
        grad_weight_VD.add_(at::mm(grad_narrow.t(), hidden));
      }
    }
    if (with_gradient) {
      context->save_for_backward({grad_hidden_TD, grad_weight_VD.to(weight_VD.scalar_type())});
    }
    context->mark_non_differentiable({nll_T});
    return {nll_T.sum().mul_(scale), nll_T};
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor factor = grad_outputs[0].to(saved[0].scalar_type());
    return {saved[0] * factor, saved[1] * factor, Variable(), Variable(), Variable()};
  }
};

}  // namespace

OutputHead::OutputHead(const ParameterSource& source, int64_t width, int64_t vocabulary, double std)
    : weight_VD_(register_parameter("weight", source.normal("weight", {vocabulary, width}, std))) {}

OutputHead::OutputHead(at::Tensor embedding_VD) : weight_VD_(std::move(embedding_VD)) {}

CrossEntropy OutputHead::cross_entropy(const at::Tensor& hidden_TD, const at::Tensor& targets_T, double scale) const {
  const bool with_gradient = at::GradMode::is_enabled();
  const variable_list result = CrossEntropyFunction::apply(hidden_TD, weight_VD_, targets_T, scale, with_gradient);
  return {.share = result[0], .nll_T = result[1]};
}

at::Tensor OutputHead::logits(const at::Tensor& hidden_ND) const {
  return at::linear(hidden_ND, weight_VD_).to(at_least_float(hidden_ND.scalar_type()));
}

}  // namespace moetrain
