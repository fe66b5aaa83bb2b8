// Copies of tokens for their experts, and their way back. A warp takes a stretch of a row, or of backward's sums a
// whole one, so that every sum is one warp's.
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace on_device {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kWarpsOfBlock = kThreads / kWarp;
constexpr int kPiecesOfLane = 4;  // in flight at once

/// Rows cut into stretches, one a warp.
struct Stretches {
  int64_t rows, width;
  int64_t of_row, numbers;  // stretches of a row, and the numbers of each

  Stretches(int64_t all_rows, int64_t all_width, int numbers_of_piece)
      : rows(all_rows), width(all_width), numbers(int64_t{kPiecesOfLane} * kWarp * numbers_of_piece) {
    of_row = parts(width, numbers);
  }
  int64_t blocks() const { return parts(rows * of_row, kWarpsOfBlock); }
};

/// Numbers `begin`, `begin` + kWarp * kNumbers .. of a row, below `end`, are this lane's.
struct Stretch {
  int64_t row, begin, end;
};
template <int kNumbers>
__device__ __forceinline__ Stretch own_stretch(const Stretches& all) {
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + threadIdx.x / kWarp;
  const int64_t row = warp / all.of_row, first = (warp - row * all.of_row) * all.numbers;
  const int64_t end = first + all.numbers < all.width ? first + all.numbers : all.width;
  return {row, first + static_cast<int64_t>(threadIdx.x % kWarp) * kNumbers, end};
}

template <int kNumbers, class Number>
__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(Stretches all, const Number* from, const int64_t* index_R, Number* rows_RD) {
  const Stretch own = own_stretch<kNumbers>(all);
  if (own.row >= all.rows) return;
  const Number* source = from + index_R[own.row] * all.width;
  Number* out = rows_RD + own.row * all.width;
#pragma unroll
  for (int i = 0; i < kPiecesOfLane; ++i) {
    const int64_t at = own.begin + i * kWarp * kNumbers;
    if (at < own.end) store(out + at, loaded<kNumbers>(source + at));
  }
}

template <int kNumbers, class Number>
__global__ void __launch_bounds__(kThreads)
    add_weighted_rows_kernel(Stretches all, int64_t choices, int64_t rows, const Number* rows_RD, const int64_t* row_TK,
                             const Number* weight_TK, Number* out_TD) {
  const Stretch own = own_stretch<kNumbers>(all);
  if (own.row >= all.rows) return;
  Computed<Number> sum[kPiecesOfLane][kNumbers] = {};
  for (int64_t slot = own.row * choices; slot < (own.row + 1) * choices; ++slot) {
    if (row_TK[slot] == rows) continue;
    const Number* row = rows_RD + row_TK[slot] * all.width;
    const Computed<Number> weight = weight_TK != nullptr ? widened(weight_TK[slot]) : Computed<Number>(1);
#pragma unroll
    for (int i = 0; i < kPiecesOfLane; ++i) {
      const int64_t at = own.begin + i * kWarp * kNumbers;
      if (at >= own.end) continue;
      const auto piece = loaded<kNumbers>(row + at);
      for (int n = 0; n < kNumbers; ++n) sum[i][n] += weight * widened(piece.at[n]);
    }
  }
#pragma unroll
  for (int i = 0; i < kPiecesOfLane; ++i) {
    const int64_t at = own.begin + i * kWarp * kNumbers;
    Piece<Number, kNumbers> piece;
    for (int n = 0; n < kNumbers; ++n) piece.at[n] = narrowed<Number>(sum[i][n]);
    if (at < own.end) store(out_TD + own.row * all.width + at, piece);
  }
}

template <int kNumbers, class Number>
__global__ void __launch_bounds__(kThreads)
    weighted_rows_backward_kernel(int64_t rows, int64_t width, const Number* grad_TD, const Number* rows_RD,
                                  const Number* weight_TK, const int64_t* token_R, const int64_t* slot_R,
                                  Number* grad_rows_RD, Number* grad_weight_TK) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int64_t lane = threadIdx.x % kWarp, slot = slot_R[row];
  const Number *grad = grad_TD + token_R[row] * width, *values = rows_RD + row * width;
  Number* out = grad_rows_RD + row * width;
  const Computed<Number> weight = widened(weight_TK[slot]);
  Computed<Number> dot = 0;
#pragma unroll 4
  for (int64_t at = lane * kNumbers; at < width; at += kWarp * kNumbers) {
    const auto above = loaded<kNumbers>(grad + at), value = loaded<kNumbers>(values + at);
    Piece<Number, kNumbers> of_row;
    for (int n = 0; n < kNumbers; ++n) {
      dot += widened(above.at[n]) * widened(value.at[n]);
      of_row.at[n] = narrowed<Number>(weight * widened(above.at[n]));
    }
    store(out + at, of_row);
  }
  dot = sum_of_warp(dot);
  if (lane == 0) grad_weight_TK[slot] = narrowed<Number>(dot);
}

}  // namespace

const char* copy_rows(const CopyRows& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    constexpr int kWhole = kNumbersOfPiece<Number>;
    const bool whole = whole_pieces<Number>(all.width, all.from, all.rows_RD);
    const Stretches cut(all.rows, all.width, whole ? kWhole : 1);
    return launch(whole ? copy_rows_kernel<kWhole, Number> : copy_rows_kernel<1, Number>, cut.blocks(), kThreads,
                  stream, cut, static_cast<const Number*>(all.from), all.index_R, static_cast<Number*>(all.rows_RD));
  });
}

const char* add_weighted_rows(const AddWeightedRows& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    constexpr int kWhole = kNumbersOfPiece<Number>;
    const bool whole = whole_pieces<Number>(all.width, all.rows_RD, all.out_TD);
    const Stretches cut(all.tokens, all.width, whole ? kWhole : 1);
    return launch(whole ? add_weighted_rows_kernel<kWhole, Number> : add_weighted_rows_kernel<1, Number>, cut.blocks(),
                  kThreads, stream, cut, all.choices, all.rows, static_cast<const Number*>(all.rows_RD), all.row_TK,
                  static_cast<const Number*>(all.weight_TK), static_cast<Number*>(all.out_TD));
  });
}

const char* weighted_rows_backward(const WeightedRowsBackward& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    constexpr int kWhole = kNumbersOfPiece<Number>;
    const bool whole = whole_pieces<Number>(all.width, all.grad_TD, all.rows_RD, all.grad_rows_RD);
    return launch(whole ? weighted_rows_backward_kernel<kWhole, Number> : weighted_rows_backward_kernel<1, Number>,
                  parts(all.rows, kWarpsOfBlock), kThreads, stream, all.rows, all.width,
                  static_cast<const Number*>(all.grad_TD), static_cast<const Number*>(all.rows_RD),
                  static_cast<const Number*>(all.weight_TK), all.token_R, all.slot_R,
                  static_cast<Number*>(all.grad_rows_RD), static_cast<Number*>(all.grad_weight_TK));
  });
}

}  // namespace on_device
}  // namespace parallel
