// Matrices of 16 bits laid out for a processor's dot products of pairs, and what comes of those.
// defines: Pair, PairShape, pairs_of_rows, pairs_of_columns, columns_as_rows, give_sums
#pragma once
#include <cstdint>

#include "parallel/kernels/bfloat16.h"

namespace parallel {

/// Two numbers that follow one another in what is summed up over, the first in the lower half: what AMX's TDPBF16PS
/// and AVX-512's VDPBF16PS take at once.
using Pair = uint32_t;

/// Of a matrix [K, N] of which sums over K are made, for whole vectors: K padded to a multiple of kPaddedSum with
/// zeros, N a multiple of kWholeColumns.
constexpr int64_t kPaddedSum = 32, kWholeColumns = 16;
struct PairShape {
  int64_t sum = 0;  // K as it is
  int64_t columns = 0;
  int64_t padded_sum() const { return (sum + kPaddedSum - 1) / kPaddedSum * kPaddedSum; }
};

/// pair[k / 2, n] = (in[k, n], in[k + 1, n]): [K, N] by rows of `stride` numbers, to rows of `pair_stride` pairs.
void pairs_of_rows(const PairShape& shape, const Bfloat16* in_KN, int64_t stride, Pair* pairs, int64_t pair_stride);

/// The same of a matrix whose columns are contiguous, in[k, n] at n * stride + k. K a multiple of kPaddedSum.
void pairs_of_columns(const PairShape& shape, const Bfloat16* in_NK, int64_t stride, Pair* pairs, int64_t pair_stride);

/// out[n, k] = in[k, n], to rows of `out_stride` numbers, an even one; what K was padded with is 0.
void columns_as_rows(const PairShape& shape, const Bfloat16* in_KN, int64_t stride, Bfloat16* out_NK,
                     int64_t out_stride);

/// out = sums, or out += sums, rounded once: [rows, columns] by rows of so many numbers.
template <class Scalar>
void give_sums(int64_t rows, int64_t columns, const float* sums, int64_t sum_stride, Scalar* out, int64_t out_stride,
               bool add);

}  // namespace parallel
