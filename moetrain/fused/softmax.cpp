#include "moetrain/fused/softmax.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>

#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/softmax.h"

namespace moetrain {
namespace {

parallel::RowShape shape_of(const at::Tensor& logits_CW) {
  parallel::check_internal(parallel::has_loops(logits_CW) && logits_CW.is_contiguous(), "softmax: logits of shape ",
                           logits_CW.sizes(), ", strides ", logits_CW.strides(), " and type ", logits_CW.scalar_type());
  return {.rows = logits_CW.size(0), .columns = logits_CW.size(1)};
}

at::Tensor of_rows(const at::Tensor& logits_CW) {
  return at::empty({logits_CW.size(0)}, logits_CW.options().dtype(at::toOpMathType(logits_CW.scalar_type())));
}

template <class Scalar>
parallel::SoftmaxSums<Scalar> sums_of(const SoftmaxRows& rows) {
  return {.largest = rows.largest_C.mutable_data_ptr<Scalar>(),
          .exponentials = rows.exponentials_C.mutable_data_ptr<Scalar>(),
          .logits = rows.sum_C.mutable_data_ptr<Scalar>()};
}

parallel::SoftmaxTarget target_of(const SoftmaxWanted& wanted) {
  return {.column_R = wanted.column_C.const_data_ptr<int64_t>(), .here = wanted.here, .each = wanted.each};
}

}  // namespace

SoftmaxRows softmax_gradient_(at::Tensor& logits_CW, const SoftmaxWanted& wanted) {
  const SoftmaxRows rows{of_rows(logits_CW), of_rows(logits_CW), of_rows(logits_CW)};
  parallel::with_loops(logits_CW.scalar_type(), [&]<class Scalar>() {
    parallel::softmax_gradient(parallel::mutable_data_of<Scalar>(logits_CW), shape_of(logits_CW), target_of(wanted),
                               sums_of<parallel::Wide<Scalar>>(rows));
  });
  return rows;
}

at::Tensor largest_of_rows(const at::Tensor& logits_CW) {
  at::Tensor largest_C = of_rows(logits_CW);
  AT_DISPATCH_FLOATING_TYPES(logits_CW.scalar_type(), "largest_of_rows", [&] {
    parallel::largest_of_rows(logits_CW.const_data_ptr<scalar_t>(), shape_of(logits_CW),
                              largest_C.mutable_data_ptr<scalar_t>());
  });
  return largest_C;
}

void exponentials_of_rows_(at::Tensor& logits_CW, SoftmaxRows& rows) {
  rows.exponentials_C = of_rows(logits_CW);
  rows.sum_C = of_rows(logits_CW);
  AT_DISPATCH_FLOATING_TYPES(logits_CW.scalar_type(), "exponentials_of_rows", [&] {
    parallel::exponentials_of_rows(logits_CW.mutable_data_ptr<scalar_t>(), shape_of(logits_CW),
                                   sums_of<scalar_t>(rows));
  });
}

void gradient_of_rows_(at::Tensor& exponentials_CW, const SoftmaxWanted& wanted, const SoftmaxRows& rows) {
  AT_DISPATCH_FLOATING_TYPES(exponentials_CW.scalar_type(), "gradient_of_rows", [&] {
    parallel::gradient_of_rows(exponentials_CW.mutable_data_ptr<scalar_t>(), shape_of(exponentials_CW),
                               target_of(wanted), rows.exponentials_C.const_data_ptr<scalar_t>());
  });
}

}  // namespace moetrain
