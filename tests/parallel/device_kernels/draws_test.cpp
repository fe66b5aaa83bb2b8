#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

TEST(DrawKernels, MasksBitForBit) {
  const RandomStream stream(11, "dropout", 3, 17);
  for (const int64_t first : {int64_t{0}, int64_t{5}, int64_t{8}, (int64_t{1} << 35) + 3}) {
    for (const int64_t count : {0, 1, 3, 8, 9, 2048, 5001}) {
      const auto size = static_cast<size_t>(count);
      std::vector<uint16_t> words(size);
      stream.words16(first, words);
      const DeviceBuffer<uint8_t> kept(size);
      expect_no_fault(compiled_kernels()->keep_mask(
          {{stream.key()[0], stream.key()[1]}, {stream.tweak()[0], stream.tweak()[1]}, first, count, 6554, kept.data()},
          {}));
      const auto got = kept.on_host();
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(got[i], words[i] >= 6554 ? 1 : 0) << i << " from " << first;
    }
  }
}

TEST(DrawKernels, UniformsBitForBit) {
  const RandomStream stream(11, "router jitter", 3, 17);
  for (const int64_t first : {int64_t{0}, int64_t{7}, (int64_t{1} << 40) + 1}) {
    for (const int64_t count : {0, 1, 255, 700}) {
      const DeviceBuffer<double> out(static_cast<size_t>(count));
      expect_no_fault(compiled_kernels()->uniform({{stream.key()[0], stream.key()[1]},
                                                   {stream.tweak()[0], stream.tweak()[1]},
                                                   first,
                                                   count,
                                                   0x1p-54,
                                                   out.data()},
                                                  {}));
      const auto got = out.on_host();
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(got[static_cast<size_t>(i)], stream.uniform(first + i) + 0x1p-54);
    }
  }
}

}  // namespace
}  // namespace parallel
