// The largest of a row in the order of moetrain/ranking, a row a warp: the largest that is left is taken, again and
// again, until k are and the class of joined ones that the last belongs to has ended.
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace on_device {
namespace {

constexpr int kWarpsOfBlock = 4;
constexpr unsigned kThreads = kWarpsOfBlock * kWarp;
constexpr int kNone = 0x7FFFFFFF;

template <class Number>
struct Taken {
  Number value;
  int column;  // kNone: nothing is left
};

/// NaN has no place in an order.
template <class Number>
__device__ __forceinline__ Number ordered(Number value) {
  return value == value ? value : -static_cast<Number>(INFINITY);
}

template <class Number>
__device__ __forceinline__ bool is_before(const Taken<Number>& a, const Taken<Number>& b) {
  if (a.column == kNone || b.column == kNone) return a.column < b.column;
  return a.value != b.value ? a.value > b.value : a.column < b.column;
}

/// The first of all lanes'.
template <class Number>
__device__ __forceinline__ Taken<Number> first_of_warp(Taken<Number> own) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Taken<Number> other{__shfl_xor_sync(kAllLanes, own.value, distance),
                              __shfl_xor_sync(kAllLanes, own.column, distance)};
    if (is_before(other, own)) own = other;
  }
  return own;
}

/// In float64, as the processor does. Equal infinities have no difference and are equal; others are apart.
template <class Number>
__device__ __forceinline__ bool joined(const Taken<Number>& above, const Taken<Number>& below, const Number* magnitude,
                                       double bound) {
  if (above.value == below.value) return true;
  const double gap = static_cast<double>(above.value) - static_cast<double>(below.value);
  const double one = magnitude[above.column], other = magnitude[below.column];
  return isfinite(gap) && gap <= bound * (one < other ? other : one);
}

/// Column i * 32 + lane is a lane's number i.
template <int kNumbers, class Number>
__global__ void __launch_bounds__(kThreads)
    largest_k_kernel(int64_t rows, int columns, int k, const Number* values, const Number* magnitudes, double bound,
                     int64_t* all_chosen) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int lane = threadIdx.x % kWarp;
  const Number *value = values + row * columns, *magnitude = magnitudes + row * columns;
  int64_t* chosen = all_chosen + row * k;
  Number own[kNumbers];
  unsigned left = 0, in_class = 0;  // bit i: number i is still there; is of the class at hand
#pragma unroll
  for (int i = 0; i < kNumbers; ++i) {
    const int column = i * kWarp + lane;
    own[i] = column < columns ? ordered(value[column]) : Number(0);
    if (column < columns) left |= 1u << i;
  }
  Taken<Number> last{Number(0), kNone};
  int written = 0;
  for (int taken = 0; written < k; ++taken) {
    Taken<Number> best{Number(0), kNone};
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) {
      const Taken<Number> each{own[i], i * kWarp + lane};
      if ((left >> i & 1) != 0 && is_before(each, best)) best = each;
    }
    best = first_of_warp(best);
    if (taken > 0 && (best.column == kNone || !joined(last, best, magnitude, bound))) {
      if (taken - written == 1) {
        if (lane == 0) chosen[written] = last.column;
      } else {
        int place = written;
#pragma unroll
        for (int i = 0; i < kNumbers; ++i) {
          const bool member = (in_class >> i & 1) != 0;
          const unsigned members = __ballot_sync(kAllLanes, member);
          const int here = place + __popc(members & ((1u << lane) - 1));
          if (member && here < k) chosen[here] = i * kWarp + lane;
          place += __popc(members);
        }
      }
      written = taken;
      in_class = 0;
    }
    if (best.column % kWarp == lane && best.column != kNone) {
      left &= ~(1u << best.column / kWarp);
      in_class |= 1u << best.column / kWarp;
    }
    last = best;
  }
}

template <int kNumbers, class Number>
const char* chosen(const LargestK& all, DeviceStream stream) {
  if constexpr (kNumbers > 1) {
    if (all.columns <= kNumbers / 2 * kWarp) return chosen<kNumbers / 2, Number>(all, stream);
  }
  return launch(largest_k_kernel<kNumbers, Number>, parts(all.rows, kWarpsOfBlock), kThreads, stream, all.rows,
                static_cast<int>(all.columns), static_cast<int>(all.k), static_cast<const Number*>(all.value),
                static_cast<const Number*>(all.magnitude), all.bound, all.chosen);
}

}  // namespace

const char* largest_k(const LargestK& all, DeviceStream stream) {
  constexpr int kMost = static_cast<int>(kMostRanked) / kWarp;
  if (all.columns > kMostRanked || all.k > all.columns) return "too many columns, or choices of a row";
  if (all.element == Element::kFloat) return chosen<kMost, float>(all, stream);
  if (all.element == Element::kDouble) return chosen<kMost, double>(all, stream);
  return "numbers in bf16 are not ranked";
}

}  // namespace on_device
}  // namespace parallel
