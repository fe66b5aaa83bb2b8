// Matrices of groups without rows, among others that have some.
#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

TEST(IdleGroupKernels, ZerosWhereAGroupHasNoRows) {
  // The first, the last, neighbours, none and all of them idle; no group; pieces whole and not; more than all blocks'
  // first stretch.
  const std::vector<std::vector<int32_t>> ends{{0, 3, 3, 3, 8, 8}, {4}, {0}, {1, 2, 3}, {0, 0, 0}, {}};
  for (const std::vector<int32_t>& end : ends) {
    for (const int64_t bytes : {2, 16, 48, 4094, 4096, 70000, 70001}) {
      for (const size_t skip : {0, 1}) {
        const std::vector<uint8_t> before(end.size() * static_cast<size_t>(bytes), 7);
        const DeviceBuffer<uint8_t> out(before, skip);
        const DeviceBuffer<int32_t> there(end);
        expect_no_fault(compiled_kernels()->zero_idle_groups({std::ssize(end), bytes, there.data(), out.data()}, {}));
        const auto got = out.on_host();
        for (size_t g = 0; g < end.size(); ++g) {
          const uint8_t wanted = end[g] > (g > 0 ? end[g - 1] : 0) ? 7 : 0;
          for (int64_t i = 0; i < bytes; ++i) {
            ASSERT_EQ(got[g * static_cast<size_t>(bytes) + static_cast<size_t>(i)], wanted)
                << "group " << g << " of " << end.size() << ", byte " << i << " of " << bytes;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace parallel
