// How fast each kernel moves what it must move, beside a plain copy: one line of JSON a kernel, for tests/gpu/check.
// Small, where KERNEL_SIZES=mixtral does not ask for the sizes of Mixtral's layer (T 4096, top-2, M 4096, H 14336) and
// of a fine one's choices (T 32768, E 128, top-8).
#include <cstdio>
#include <cstdlib>

#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

constexpr int kWarmUps = 3, kRounds = 20;

struct Sizes {
  int64_t tokens = 16, choices = 2, width = 64, hidden = 96, fine_tokens = 64, fine_choices = 8, experts = 128;
};
Sizes sizes() {
  if (std::getenv("KERNEL_SIZES") == nullptr) return {};
  return {.tokens = 4096, .width = 4096, .hidden = 14336, .fine_tokens = 32768};
}

/// Zeros of `bytes` bytes.
DeviceBuffer<char> zeros(int64_t bytes) { return DeviceBuffer<char>(std::vector<char>(static_cast<size_t>(bytes), 0)); }

/// Seconds of one of many runs, behind some that are not counted.
template <class Run>
double seconds_of(const Run& run) {
  cudaEvent_t begin, end;
  EXPECT_EQ(cudaEventCreate(&begin), cudaSuccess);
  EXPECT_EQ(cudaEventCreate(&end), cudaSuccess);
  for (int i = 0; i < kWarmUps; ++i) run();
  EXPECT_EQ(cudaEventRecord(begin, nullptr), cudaSuccess);
  for (int i = 0; i < kRounds; ++i) run();
  EXPECT_EQ(cudaEventRecord(end, nullptr), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
  return milliseconds / 1e3 / kRounds;
}

template <class Run>
void report(const char* kernel, int64_t bytes, const Run& run) {
  const double seconds = seconds_of(run), rate = static_cast<double>(bytes) / seconds;
  EXPECT_GT(rate, 0);
  std::printf("{\"kernel\": \"%s\", \"megabytes\": %.3f, \"milliseconds\": %.4f, \"gigabytes_per_second\": %.1f}\n",
              kernel, static_cast<double>(bytes) / 1e6, 1e3 * seconds, rate / 1e9);
}

TEST(KernelSpeed, Activations) {
  const Sizes s = sizes();
  const int64_t count = s.tokens * s.choices * s.hidden, bytes = 2 * count;  // bf16
  const DeviceBuffer<char> gate = zeros(bytes), up = zeros(bytes), grad = zeros(bytes), one = zeros(bytes),
                           other = zeros(bytes);
  report("copy", 2 * bytes, [&] {
    EXPECT_EQ(cudaMemcpyAsync(one.data(), gate.data(), static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, nullptr),
              cudaSuccess);
  });
  const DeviceKernels& all = *compiled_kernels();
  report("swiglu", 3 * bytes, [&] {
    expect_no_fault(all.swiglu({Element::kBfloat16, count, gate.data(), up.data(), one.data()}, {}));
  });
  report("swiglu_backward", 5 * bytes, [&] {
    expect_no_fault(all.swiglu_backward(
        {Element::kBfloat16, count, grad.data(), gate.data(), up.data(), one.data(), other.data()}, {}));
  });
  report("gelu", 2 * bytes, [&] {
    expect_no_fault(all.gelu({Element::kBfloat16, count, gate.data(), one.data()}, {}));
  });
  report("gelu_backward", 3 * bytes, [&] {
    expect_no_fault(all.gelu_backward({Element::kBfloat16, count, grad.data(), gate.data(), one.data()}, {}));
  });
}

TEST(KernelSpeed, Rows) {
  const Sizes s = sizes();
  const int64_t rows = s.tokens * s.choices, row_bytes = 2 * s.width;
  std::vector<int64_t> token, slot, row(static_cast<size_t>(rows));
  const RandomStream stream(5, "rows");
  for (int64_t r = 0; r < rows; ++r) {
    slot.push_back(permuted_index(stream, r, rows));
    token.push_back(slot.back() / s.choices);
    row[static_cast<size_t>(slot.back())] = r;
  }
  const DeviceBuffer<int64_t> token_R(token), slot_R(slot), row_TK(row);
  const DeviceBuffer<char> tokens = zeros(s.tokens * row_bytes), values = zeros(rows * row_bytes),
                           grads = zeros(rows * row_bytes), weight = zeros(2 * rows), of_weight = zeros(2 * rows);
  const DeviceKernels& all = *compiled_kernels();
  report("copy_rows", (s.tokens + rows) * row_bytes + 8 * rows, [&] {
    expect_no_fault(
        all.copy_rows({Element::kBfloat16, rows, s.width, tokens.data(), token_R.data(), values.data()}, {}));
  });
  report("add_weighted_rows", (s.tokens + rows) * row_bytes + 10 * rows, [&] {
    expect_no_fault(all.add_weighted_rows({Element::kBfloat16, s.tokens, s.choices, rows, s.width, values.data(),
                                           row_TK.data(), weight.data(), tokens.data()},
                                          {}));
  });
  report("weighted_rows_backward", (s.tokens + 2 * rows) * row_bytes + 20 * rows, [&] {
    expect_no_fault(
        all.weighted_rows_backward({Element::kBfloat16, rows, s.width, tokens.data(), values.data(), weight.data(),
                                    token_R.data(), slot_R.data(), grads.data(), of_weight.data()},
                                   {}));
  });
}

TEST(KernelSpeed, Choices) {
  const Sizes s = sizes();
  const int64_t choices = s.fine_tokens * s.fine_choices;
  const DeviceBuffer<float> score(numbers<float>("score", s.fine_tokens * s.experts));
  const DeviceBuffer<float> magnitude(std::vector<float>(static_cast<size_t>(s.fine_tokens * s.experts), 1));
  const auto count = static_cast<size_t>(choices);
  const DeviceBuffer<int64_t> chosen(count), token(count), slot(count), row(count);
  const DeviceBuffer<int32_t> end(static_cast<size_t>(s.experts));
  const DeviceKernels& all = *compiled_kernels();
  const DeviceBuffer<int32_t> scratch(static_cast<size_t>(all.sorting_scratch(choices, s.experts)));
  report("largest_k", 4 * s.fine_tokens * s.experts + 8 * choices, [&] {
    expect_no_fault(all.largest_k({Element::kFloat, s.fine_tokens, s.experts, s.fine_choices, score.data(),
                                   magnitude.data(), 0x1p-18, chosen.data()},
                                  {}));
  });
  report("sort_choices", 40 * choices, [&] {
    expect_no_fault(all.sort_choices({choices, s.fine_choices, s.experts, chosen.data(), scratch.data(), end.data(),
                                      token.data(), slot.data(), row.data()},
                                     {}));
  });
}

TEST(KernelSpeed, Draws) {
  const Sizes s = sizes();
  const int64_t count = s.tokens * s.width;
  const DeviceBuffer<uint8_t> kept(static_cast<size_t>(count));
  const DeviceBuffer<double> out(static_cast<size_t>(count));
  const DeviceKernels& all = *compiled_kernels();
  report("keep_mask", count, [&] {
    expect_no_fault(all.keep_mask({{1, 2}, {3, 4}, 0, count, 6554, kept.data()}, {}));
  });
  report("uniform", 8 * count, [&] { expect_no_fault(all.uniform({{1, 2}, {3, 4}, 0, count, 0, out.data()}, {})); });
}

}  // namespace
}  // namespace parallel
