// Draws by global index, bit for bit those of parallel/base/random: Philox4x32-10 (Salmon et al. 2011).
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace on_device {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kWordsOfBlock = 8;  // of 16 bits

struct PhiloxBlock {
  uint32_t word[4];
};

/// A stream's block of that number.
template <class Draws>
__device__ __forceinline__ PhiloxBlock philox_block(uint64_t index, const Draws& of) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32), c2 = of.tweak[0],
           c3 = of.tweak[1];
  uint32_t key0 = of.key[0], key1 = of.key[1];
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// A thread draws a block, which holds eight words.
__global__ void __launch_bounds__(kThreads) keep_mask_kernel(KeepMask all) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t block = all.first / kWordsOfBlock + thread, begin = block * kWordsOfBlock - all.first;
  if (begin >= all.count) return;
  const PhiloxBlock drawn = philox_block(static_cast<uint64_t>(block), all);
  Piece<uint8_t, kWordsOfBlock> kept;
#pragma unroll
  for (int i = 0; i < kWordsOfBlock; ++i) {
    kept.at[i] = (drawn.word[i / 2] >> (i % 2 * 16) & 0xFFFF) >= all.threshold ? 1 : 0;
  }
  uint8_t* out = all.kept + begin;
  if (begin >= 0 && begin + kWordsOfBlock <= all.count && reinterpret_cast<uintptr_t>(out) % kWordsOfBlock == 0) {
    store(out, kept);
    return;
  }
#pragma unroll
  for (int i = 0; i < kWordsOfBlock; ++i) {
    if (begin + i >= 0 && begin + i < all.count) out[i] = kept.at[i];
  }
}

__global__ void __launch_bounds__(kThreads) uniform_kernel(Uniform all) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= all.count) return;
  const PhiloxBlock drawn = philox_block(static_cast<uint64_t>(all.first + i), all);
  const uint64_t bits = static_cast<uint64_t>(drawn.word[1]) << 32 | drawn.word[0];
  all.out[i] = static_cast<double>(bits >> 11) * 0x1.0p-53 + all.shift;
}

}  // namespace

const char* keep_mask(const KeepMask& all, DeviceStream stream) {
  const int64_t blocks = parts(all.first % kWordsOfBlock + all.count, kWordsOfBlock);
  return launch(keep_mask_kernel, all.count == 0 ? 0 : parts(blocks, kThreads), kThreads, stream, all);
}

const char* uniform(const Uniform& all, DeviceStream stream) {
  return launch(uniform_kernel, parts(all.count, kThreads), kThreads, stream, all);
}

}  // namespace on_device
}  // namespace parallel
