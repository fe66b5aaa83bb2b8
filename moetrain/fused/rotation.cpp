#include "moetrain/fused/rotation.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "moetrain/fused/head_rows.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/rotation.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

enum class Turn { kForward, kBack };

/// place_S: as Rotation has it.
void turn(const at::Tensor& x_SHLd, const at::Tensor& cos_Lh, const at::Tensor& sin_Lh, bool neighbours, Turn way,
          at::Tensor& out_SHLd, const int64_t* place_S = nullptr) {
  const at::Tensor from = x_SHLd.stride(3) == 1 ? x_SHLd : x_SHLd.contiguous();
  const parallel::Rotation rotation{.sequences = from.size(0),
                                    .heads = from.size(1),
                                    .positions = from.size(2),
                                    .width = from.size(3),
                                    .neighbours = neighbours,
                                    .back = way == Turn::kBack,
                                    .place_S = place_S};
  parallel::with_loops(from.scalar_type(), [&]<class Scalar>() {
    parallel::rotate_pairs(rotation, head_rows(parallel::data_of<Scalar>(from), from),
                           parallel::data_of<Scalar>(cos_Lh), parallel::data_of<Scalar>(sin_Lh),
                           head_rows(parallel::mutable_data_of<Scalar>(out_SHLd), out_SHLd));
  });
}

/// Of tensors for which there are loops.
class RotationFunction : public torch::autograd::Function<RotationFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x_SHLd, const at::Tensor& cos_Lh,
                          const at::Tensor& sin_Lh, bool neighbours) {
    context->saved_data["cos"] = cos_Lh;
    context->saved_data["sin"] = sin_Lh;
    context->saved_data["neighbours"] = neighbours;
    at::Tensor out_SHLd = at::empty(x_SHLd.sizes(), x_SHLd.options());
    turn(x_SHLd, cos_Lh, sin_Lh, neighbours, Turn::kForward, out_SHLd);
    return out_SHLd;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "rotate_pairs: no second derivative");
    const at::Tensor& grad_SHLd = grad_outputs[0];
    // Where a position's heads lie side by side, as what they are projected from has them.
    const auto positions =
        at::empty({grad_SHLd.size(0), grad_SHLd.size(2), grad_SHLd.size(1), grad_SHLd.size(3)}, grad_SHLd.options());
    at::Tensor out_SHLd = positions.transpose(1, 2);
    turn(grad_SHLd, context->saved_data["cos"].toTensor(), context->saved_data["sin"].toTensor(),
         context->saved_data["neighbours"].toBool(), Turn::kBack, out_SHLd);
    return {out_SHLd, Variable(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor rotate_pairs(const at::Tensor& x_SHLd, const at::Tensor& cos_Lh, const at::Tensor& sin_Lh, bool neighbours) {
  if (parallel::has_loops(x_SHLd) && cos_Lh.dim() == 2 && x_SHLd.scalar_type() == cos_Lh.scalar_type()) {
    parallel::check_internal(
        x_SHLd.size(3) % 2 == 0 && cos_Lh.size(0) == x_SHLd.size(2) && 2 * cos_Lh.size(1) == x_SHLd.size(3) &&
            cos_Lh.sizes() == sin_Lh.sizes() && cos_Lh.scalar_type() == sin_Lh.scalar_type(),
        "rotate_pairs: ", x_SHLd.sizes(), " by tables of ", cos_Lh.sizes(), " and ", sin_Lh.sizes());
    return RotationFunction::apply(x_SHLd, cos_Lh.contiguous(), sin_Lh.contiguous(), neighbours);
  }
  const int64_t half = x_SHLd.size(3) / 2;
  if (neighbours) {
    const at::Tensor a = x_SHLd.slice(3, 0, 2 * half, 2), b = x_SHLd.slice(3, 1, 2 * half, 2);
    return at::stack({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 4).flatten(3);
  }
  const at::Tensor a = x_SHLd.narrow(3, 0, half), b = x_SHLd.narrow(3, half, half);
  return at::cat({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 3);
}

bool has_rotation_at(const at::Tensor& x_SHLd, const at::Tensor& cos_Ph) {
  return !at::GradMode::is_enabled() && parallel::has_loops(x_SHLd) && x_SHLd.scalar_type() == cos_Ph.scalar_type();
}

at::Tensor rotate_pairs_at(const at::Tensor& x_SHLd, const at::Tensor& cos_Ph, const at::Tensor& sin_Ph,
                           const std::vector<int64_t>& place_S, bool neighbours) {
  const auto [least, most] = std::ranges::minmax_element(place_S);
  parallel::check_internal(std::ssize(place_S) == x_SHLd.size(0) && 2 * cos_Ph.size(1) == x_SHLd.size(3) &&
                               cos_Ph.is_contiguous() && sin_Ph.is_contiguous() && cos_Ph.sizes() == sin_Ph.sizes() &&
                               (place_S.empty() || (*least >= 0 && *most + x_SHLd.size(2) <= cos_Ph.size(0))),
                           "rotate_pairs_at: ", x_SHLd.sizes(), " by tables of ", cos_Ph.sizes());
  at::Tensor out_SHLd = at::empty(x_SHLd.sizes(), x_SHLd.options());
  turn(x_SHLd, cos_Ph, sin_Ph, neighbours, Turn::kForward, out_SHLd, place_S.data());
  return out_SHLd;
}

}  // namespace moetrain
