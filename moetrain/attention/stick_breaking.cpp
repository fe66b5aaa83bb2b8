#include "moetrain/attention/stick_breaking.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// dA_j / dl_i = A_j ([i = j] - [i >= j] sigmoid(l_i)), so that with g = A times the gradient of A the gradient of l_i
/// is g_i - sigmoid(l_i) sum_{j <= i} g_j: ten numbers of a pair of tokens, most of them for a moment, become two.
class StickBreaking : public torch::autograd::Function<StickBreaking> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits_LK) {
    // Of the keys behind each alone: a large logit is not added and taken away again.
    const at::Tensor left_LK = at::log_sigmoid(-logits_LK).flip(-1).cumsum_(-1).flip(-1);
    at::Tensor weight_LK = at::log_sigmoid(logits_LK);
    const int64_t before = logits_LK.size(-1) - 1;
    if (before > 0) weight_LK.narrow(-1, 0, before).add_(left_LK.narrow(-1, 1, before));
    weight_LK.exp_();
    context->save_for_backward({logits_LK, weight_LK});
    return weight_LK;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &logits_LK = saved[0], &weight_LK = saved[1];
    at::Tensor grad_LK = grads[0] * weight_LK;
    return {grad_LK.sub_(at::sigmoid(logits_LK).mul_(grad_LK.cumsum(-1)))};
  }
};

}  // namespace

at::Tensor stick_breaking(const at::Tensor& logits_LK) { return StickBreaking::apply(logits_LK); }

}  // namespace moetrain
