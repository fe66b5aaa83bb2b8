#include "launch/ranks/read_speed.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace launch {

ReadSpeed memory_read_speed() {
  constexpr int64_t kRows = 1 << 15, kColumns = 1 << 12;  // of float32
  constexpr int kTries = 3;
  const at::NoGradGuard no_gradient;
  static const at::Tensor matrix_RC = at::ones({kRows, kColumns}, at::kFloat);
  const at::Tensor vector_C = at::ones({kColumns}, at::kFloat);
  at::Tensor out_R = at::empty({kRows}, at::kFloat), sum = at::empty({}, at::kFloat);
  ReadSpeed best;
  const auto time = [&](const auto& work) {
    const Stopwatch watch;
    work();
    const auto bytes = static_cast<double>(matrix_RC.nbytes());
    best = {std::max(best.by_clock, bytes / watch.seconds()), std::max(best.by_cpu, bytes / watch.cpu_seconds())};
  };
  for (int i = 0; i < kTries; ++i) {
    time([&] { at::mv_out(out_R, matrix_RC, vector_C); });
    time([&] { sum = matrix_RC.sum(); });
  }
  return best;
}

}  // namespace launch
