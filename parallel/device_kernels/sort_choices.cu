// A stable counting sort of choices by expert: each warp counts its stretch of them, one block turns counts into
// places, and each warp goes through its stretch again. A counter belongs to one warp, so no sum hangs on who comes
// first.
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
extern __shared__ uint64_t shared_words[];

namespace on_device {
namespace {

constexpr int kWarpsOfBlock = 4;
constexpr int64_t kMostWarps = 512;  // so that the one block between has no more than some hundred counts a thread
constexpr unsigned kThreads = kWarpsOfBlock * kWarp, kThreadsOfScan = 1024;

/// Stretches of choices, one a warp, and a bucket for each expert and one behind them for what was dropped. Counts and
/// places lie by bucket, then by warp: in the order of the sorted choices.
struct SortCut {
  int64_t choices, stretch;
  int warps, buckets;

  SortCut(int64_t all, int64_t experts) : choices(all), buckets(static_cast<int>(experts) + 1) {
    const int64_t most = kMostWarps * kWarp;
    stretch = all > most ? parts(all, most) * kWarp : kWarp;
    warps = static_cast<int>(all > 0 ? parts(all, stretch) : 1);
  }
};

__device__ __forceinline__ int bucket_of(int64_t expert, const SortCut& cut) {
  return 0 <= expert && expert < cut.buckets - 1 ? static_cast<int>(expert) : cut.buckets - 1;
}

/// What a lane sees of a round: 32 choices, of which one is its own.
struct Round {
  int64_t choice;
  int bucket;      // -1: behind the last choice
  unsigned peers;  // lanes of the same bucket
  bool first;      // the first of them
};
__device__ __forceinline__ Round round_at(int64_t begin, int64_t end, const int64_t* expert_N, const SortCut& cut) {
  const int lane = threadIdx.x % kWarp;
  Round own{begin + lane, -1, 0, false};
  if (own.choice < end) own.bucket = bucket_of(expert_N[own.choice], cut);
  own.peers = __match_any_sync(kAllLanes, own.bucket);
  own.first = own.bucket >= 0 && (own.peers & ((1u << lane) - 1)) == 0;
  return own;
}

__device__ __forceinline__ int64_t end_of(int warp, const SortCut& cut) {
  const int64_t end = (warp + 1) * cut.stretch;
  return end < cut.choices ? end : cut.choices;
}

__global__ void __launch_bounds__(kThreads) count_kernel(SortCut cut, const int64_t* expert_N, int32_t* count) {
  const int warp = static_cast<int>(blockIdx.x) * kWarpsOfBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (warp >= cut.warps) return;
  const int lane = threadIdx.x % kWarp;
  auto* own = reinterpret_cast<int32_t*>(shared_words) + threadIdx.x / kWarp * cut.buckets;
  for (int b = lane; b < cut.buckets; b += kWarp) own[b] = 0;
  __syncwarp();
  const int64_t end = end_of(warp, cut);
  for (int64_t at = warp * cut.stretch; at < end; at += kWarp) {
    const Round round = round_at(at, end, expert_N, cut);
    if (round.first) own[round.bucket] += __popc(round.peers);
    __syncwarp();
  }
  for (int b = lane; b < cut.buckets; b += kWarp) count[static_cast<int64_t>(b) * cut.warps + warp] = own[b];
}

/// In the place of each count the sum of those before it.
__global__ void __launch_bounds__(kThreadsOfScan) place_kernel(SortCut cut, int32_t* count, int32_t* end_E) {
  auto* of_warp = reinterpret_cast<int32_t*>(shared_words);
  const int thread = threadIdx.x, lane = thread % kWarp;
  const int64_t all = static_cast<int64_t>(cut.buckets) * cut.warps;
  const int64_t each = (all + kThreadsOfScan - 1) / kThreadsOfScan, first = thread * each;
  const int64_t end = first + each < all ? first + each : all;
  int32_t own = 0;
  for (int64_t i = first; i < end; ++i) own += count[i];
  int32_t through = own;
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int32_t before = __shfl_up_sync(kAllLanes, through, distance);
    if (lane >= distance) through += before;
  }
  if (lane == kWarp - 1) of_warp[thread / kWarp] = through;
  __syncthreads();
  int32_t place = through - own;
  for (int w = 0; w < thread / kWarp; ++w) place += of_warp[w];
  for (int64_t i = first; i < end; ++i) {
    const int32_t here = count[i];
    count[i] = place;
    place += here;
  }
  __syncthreads();
  for (int64_t e = thread; e < cut.buckets - 1; e += kThreadsOfScan) end_E[e] = count[(e + 1) * cut.warps];
}

__global__ void __launch_bounds__(kThreads) order_kernel(SortCut cut, SortChoices all) {
  const int warp = static_cast<int>(blockIdx.x) * kWarpsOfBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (warp >= cut.warps) return;
  const int lane = threadIdx.x % kWarp, dropped = cut.buckets - 1;
  auto* next = reinterpret_cast<int32_t*>(shared_words) + threadIdx.x / kWarp * cut.buckets;
  for (int b = lane; b < cut.buckets; b += kWarp) next[b] = all.scratch[static_cast<int64_t>(b) * cut.warps + warp];
  __syncwarp();
  const int32_t rows = all.scratch[static_cast<int64_t>(dropped) * cut.warps];
  const int64_t end = end_of(warp, cut);
  for (int64_t at = warp * cut.stretch; at < end; at += kWarp) {
    const Round round = round_at(at, end, all.expert_N, cut);
    const int rank = __popc(round.peers & ((1u << lane) - 1));
    const int32_t row = round.bucket >= 0 ? next[round.bucket] + rank : 0;
    __syncwarp();
    if (round.first) next[round.bucket] += __popc(round.peers);
    __syncwarp();
    if (round.bucket < 0) continue;
    all.row_N[round.choice] = round.bucket == dropped ? rows : row;
    all.token_N[row] = round.choice / all.top_k;
    all.slot_N[row] = round.choice;
  }
}

}  // namespace

const char* sort_choices(const SortChoices& all, DeviceStream stream) {
  if (all.experts > kMostSorted || all.choices > 0x7FFFFFFF) return "too many choices or experts";
  const SortCut cut(all.choices, all.experts);
  const int64_t blocks = parts(cut.warps, kWarpsOfBlock);
  const size_t bytes = sizeof(int32_t) * kWarpsOfBlock * static_cast<size_t>(cut.buckets);
  const char* fault = launch_sharing(count_kernel, blocks, kThreads, bytes, stream, cut, all.expert_N, all.scratch);
  if (fault == nullptr) {
    fault =
        launch_sharing(place_kernel, 1, kThreadsOfScan, sizeof(int32_t) * kWarp, stream, cut, all.scratch, all.end_E);
  }
  if (fault == nullptr) fault = launch_sharing(order_kernel, blocks, kThreads, bytes, stream, cut, all);
  return fault;
}

int64_t sorting_scratch(int64_t choices, int64_t experts) {
  const SortCut cut(choices, experts);
  return static_cast<int64_t>(cut.buckets) * cut.warps;
}

}  // namespace on_device
}  // namespace parallel
