// Small products of matrices that lie in cache, in registers' tiles. For the files of this room.
// defines: TileSizes, TileProduct, multiply_tiles
#pragma once
#include <cstdint>

namespace parallel {

/// Rows and, in vectors, columns come in multiples of this.
constexpr int64_t kTile = 48;
constexpr int64_t kRowsOfTile = 12;  // that are computed together

struct TileSizes {
  int64_t rows, columns, depth;  // rows: a multiple of kRowsOfTile; columns: of a vector
};

/// c = a b, or c += a b: c [rows, columns], a [rows, depth], b [depth, columns]. Rows of a, and what lies along its
/// depth, are so many numbers apart; of b and c a row's numbers lie side by side.
template <class Scalar>
struct TileProduct {
  struct Left {
    const Scalar* data;
    int64_t by_row, by_depth;
  };
  struct Right {
    const Scalar* data;
    int64_t by_row;
  };
  struct Result {
    Scalar* data;
    int64_t by_row;
    bool add = false;
  };
  TileSizes sizes;
  Left a;
  Right b;
  Result c;
};

template <int kBytes, int kRows, int kVectors, class Scalar>
[[gnu::always_inline]] inline void multiply_tile(const TileProduct<Scalar>& p, int64_t row, int64_t column) {
  typedef Scalar Vector __attribute__((vector_size(kBytes), aligned(sizeof(Scalar)), may_alias));
  constexpr int64_t kLanes = kBytes / static_cast<int64_t>(sizeof(Scalar));
  const Scalar *a = p.a.data + row * p.a.by_row, *b = p.b.data + column;
  Scalar* c = p.c.data + row * p.c.by_row + column;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = p.c.add ? *reinterpret_cast<const Vector*>(c + r * p.c.by_row + v * kLanes) : Vector{};
    }
  }
  for (int64_t k = 0; k < p.sizes.depth; ++k, a += p.a.by_depth, b += p.b.by_row) {
    Vector right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = *reinterpret_cast<const Vector*>(b + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Scalar left = a[r * p.a.by_row];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<Vector*>(c + r * p.c.by_row + v * kLanes) = sum[r][v];
  }
}

template <int kBytes, int kRows, int kVectors, class Scalar>
[[gnu::always_inline]] inline void multiply_columns(const TileProduct<Scalar>& p, int64_t column) {
  for (int64_t row = 0; row < p.sizes.rows; row += kRows) multiply_tile<kBytes, kRows, kVectors>(p, row, column);
}

/// As many sums as there are registers, but for what b's vectors take.
template <int kBytes, class Scalar>
[[gnu::always_inline]] inline void multiply_tiles(const TileProduct<Scalar>& p) {
  constexpr int64_t kLanes = kBytes / static_cast<int64_t>(sizeof(Scalar));
  int64_t column = 0;
  if constexpr (kBytes == 64) {
    for (; column + 4 * kLanes <= p.sizes.columns; column += 4 * kLanes) multiply_columns<kBytes, 6, 4>(p, column);
    for (; column + 2 * kLanes <= p.sizes.columns; column += 2 * kLanes)
      multiply_columns<kBytes, kRowsOfTile, 2>(p, column);
    for (; column < p.sizes.columns; column += kLanes) multiply_columns<kBytes, kRowsOfTile, 1>(p, column);
  } else {
    for (; column + 2 * kLanes <= p.sizes.columns; column += 2 * kLanes) multiply_columns<kBytes, 6, 2>(p, column);
    for (; column < p.sizes.columns; column += kLanes) multiply_columns<kBytes, kRowsOfTile, 1>(p, column);
  }
}

}  // namespace parallel
