#include "moetrain/routers/draws.h"

#include <ATen/ATen.h>

#include "parallel/device/accelerator.h"
#include "parallel/device/kernel_call.h"

namespace moetrain {
namespace {

template <class Draw>
at::Tensor filled(int64_t first, at::IntArrayRef shape, const at::TensorOptions& options, Draw draw) {
  at::Tensor drawn = at::empty(shape, at::kDouble);
  double* value = drawn.mutable_data_ptr<double>();
  for (int64_t i = 0; i < drawn.numel(); ++i) value[i] = draw(first + i);
  return parallel::send(drawn, options.device()).to(c10::typeMetaToScalarType(options.dtype()));
}

}  // namespace

at::Tensor uniform_draws(const parallel::RandomStream& stream, int64_t first, at::IntArrayRef shape,
                         const at::TensorOptions& options) {
  constexpr double kShift = 0x1.0p-54;  // moves the 53-bit grid off both ends
  if (const parallel::DeviceKernels* kernels = parallel::kernels_of(options.device())) {
    at::Tensor drawn = at::empty(shape, options.dtype(at::kDouble));
    parallel::call(kernels->uniform,
                   {.key = {stream.key()[0], stream.key()[1]},
                    .tweak = {stream.tweak()[0], stream.tweak()[1]},
                    .first = first,
                    .count = drawn.numel(),
                    .shift = kShift,
                    .out = drawn.mutable_data_ptr<double>()},
                   drawn.device());
    return drawn.to(c10::typeMetaToScalarType(options.dtype()));
  }
  return filled(first, shape, options, [&](int64_t index) { return stream.uniform(index) + kShift; });
}

at::Tensor normal_draws(const parallel::RandomStream& stream, int64_t first, at::IntArrayRef shape,
                        const at::TensorOptions& options) {
  return filled(first, shape, options, [&](int64_t index) { return stream.normal(index); });
}

}  // namespace moetrain
