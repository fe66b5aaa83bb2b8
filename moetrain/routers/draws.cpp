#include "moetrain/routers/draws.h"

#include <ATen/ATen.h>

#include "parallel/device/accelerator.h"

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
  // 2^-54 moves the 53-bit grid off both ends.
  return filled(first, shape, options, [&](int64_t index) { return stream.uniform(index) + 0x1.0p-54; });
}

at::Tensor normal_draws(const parallel::RandomStream& stream, int64_t first, at::IntArrayRef shape,
                        const at::TensorOptions& options) {
  return filled(first, shape, options, [&](int64_t index) { return stream.normal(index); });
}

}  // namespace moetrain
