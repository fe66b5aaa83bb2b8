// Sums over the rows of a group that has none: nobody wrote them.
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace on_device {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kWordsOfThread = 8, kMostParts = 1024;  // of a group

/// A block looks at one group and leaves at once where that has rows.
template <class Word>
__global__ void __launch_bounds__(kThreads)
    zero_idle_groups_kernel(int64_t parts_of_group, int64_t words, const int32_t* end_G, Word* out) {
  const int64_t group = blockIdx.x / parts_of_group, part = blockIdx.x - group * parts_of_group;
  if (end_G[group] > (group > 0 ? end_G[group - 1] : 0)) return;
  const Word zero{};
  for (int64_t at = part * kThreads + threadIdx.x; at < words; at += parts_of_group * kThreads) {
    out[group * words + at] = zero;
  }
}

template <class Word>
const char* zero(const ZeroIdleGroups& all, DeviceStream stream) {
  const int64_t words = all.bytes / static_cast<int64_t>(sizeof(Word));
  const int64_t needed = parts(words, kThreads * kWordsOfThread);
  const int64_t parts_of_group = needed < kMostParts ? needed : kMostParts;
  return launch(zero_idle_groups_kernel<Word>, all.groups * parts_of_group, kThreads, stream, parts_of_group, words,
                all.end_G, static_cast<Word*>(all.out));
}

}  // namespace

const char* zero_idle_groups(const ZeroIdleGroups& all, DeviceStream stream) {
  using Whole = Piece<uint32_t, kPieceBytes / 4>;
  return whole_pieces<uint8_t>(all.bytes, all.out) ? zero<Whole>(all, stream) : zero<uint8_t>(all, stream);
}

}  // namespace on_device
}  // namespace parallel
