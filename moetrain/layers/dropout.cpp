#include "moetrain/layers/dropout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "parallel/device/accelerator.h"
#include "parallel/device/kernel_call.h"

namespace moetrain {
namespace {

constexpr int64_t kSteps = 65536;

/// The same draws where they are needed, by the device itself.
at::Tensor draw_mask_there(at::IntArrayRef sizes, int64_t threshold, const parallel::RandomStream& stream,
                           int64_t first, const parallel::DeviceKernels& kernels, at::Device device) {
  at::Tensor mask = at::empty(sizes, at::TensorOptions(at::kByte).device(device));
  parallel::call(kernels.keep_mask,
                 {.key = {stream.key()[0], stream.key()[1]},
                  .tweak = {stream.tweak()[0], stream.tweak()[1]},
                  .first = first,
                  .count = mask.numel(),
                  .threshold = threshold,
                  .kept = mask.mutable_data_ptr<uint8_t>()},
                 device);
  return mask;
}

/// 1 where the draw is at least `threshold`, else 0: uint8, CPU.
at::Tensor draw_mask(at::IntArrayRef sizes, int64_t threshold, const parallel::RandomStream& stream, int64_t first) {
  constexpr int64_t kTogether = 4096;
  std::array<uint16_t, kTogether> draws;
  at::Tensor mask = at::empty(sizes, at::kByte);
  uint8_t* kept = mask.mutable_data_ptr<uint8_t>();
  for (int64_t begin = 0; begin < mask.numel(); begin += kTogether) {
    const int64_t count = std::min(kTogether, mask.numel() - begin);
    stream.words16(first + begin, {draws.data(), static_cast<size_t>(count)});
    for (int64_t i = 0; i < count; ++i) *kept++ = draws[static_cast<size_t>(i)] >= threshold ? 1 : 0;
  }
  return mask;
}

}  // namespace

at::Tensor dropout(const at::Tensor& x_TD, double p, const parallel::RandomStream& stream, int64_t first_row) {
  return dropout(x_TD, p, stream, first_row, {.first = 0, .all = x_TD.size(1)});
}

at::Tensor dropout(const at::Tensor& x_TD, double p, const parallel::RandomStream& stream, int64_t first_row,
                   const Columns& columns) {
  const int64_t threshold = std::min<int64_t>(std::llround(p * kSteps), kSteps - 1);  // something is always kept
  if (threshold == 0) return x_TD;
  const std::array<int64_t, 2> sizes{x_TD.size(0), columns.all};
  const int64_t first = first_row * columns.all;
  const parallel::DeviceKernels* kernels = parallel::kernels_of(x_TD.device());
  const at::Tensor all_TD = kernels != nullptr
                                ? draw_mask_there(sizes, threshold, stream, first, *kernels, x_TD.device())
                                : draw_mask(sizes, threshold, stream, first);
  const at::Tensor mask_TD = all_TD.narrow(1, columns.first, x_TD.size(1));
  // The factor is a number apart, so that no precision rounds it before it is multiplied: its mean over x stays 1.
  return x_TD * parallel::send(mask_TD, x_TD.device()).to(x_TD.scalar_type()) *
         (static_cast<double>(kSteps) / (kSteps - threshold));
}

}  // namespace moetrain
