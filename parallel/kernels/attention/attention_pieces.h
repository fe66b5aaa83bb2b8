// What attention's two ways share. For the files of this room.
// defines: up_to, kQueries, kWidest, PaddedShape, Workspace, Matrix, matrix_of, pack, pack_transposed, hide,
// keys_of_block
#pragma once
#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "parallel/kernels/attention/attention.h"
#include "parallel/kernels/attention/tile_product.h"
#include "parallel/kernels/bfloat16.h"

namespace parallel {

constexpr int64_t up_to(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }
/// Of a block: more would compute with keys that a causal one does not see, fewer sum up gradients more often.
constexpr int64_t kQueries = 48;
constexpr int64_t kWidest = 16;  // numbers of a vector, at most
static_assert(kTile % kRowsOfTile == 0 && kTile % kWidest == 0 && kQueries % kRowsOfTile == 0);

/// Sizes with what fills up tiles and vectors, and zeros stand there.
struct PaddedShape {
  explicit PaddedShape(const AttentionShape& shape)
      : keys(up_to(shape.keys, kTile)),
        width(up_to(shape.width, kWidest)),
        value_width(up_to(shape.value_width, kWidest)) {}
  int64_t keys, width, value_width;
};

/// Numbers of a thread, one piece after another, at addresses that suit vectors.
template <class Scalar>
class Workspace {
 public:
  explicit Workspace(int64_t numbers)
      : data_(static_cast<Scalar*>(std::aligned_alloc(kAligned, bytes(numbers))), &std::free) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  Scalar* take(int64_t numbers) { return data_.get() + std::exchange(taken_, taken_ + up_to(numbers, kWidest)); }
  static int64_t size(std::initializer_list<int64_t> pieces) {
    int64_t all = 0;
    for (const int64_t piece : pieces) all += up_to(piece, kWidest);
    return all;
  }

 private:
  static constexpr int64_t kAligned = 64;
  static size_t bytes(int64_t numbers) {
    return static_cast<size_t>(up_to(numbers * static_cast<int64_t>(sizeof(Scalar)), kAligned));
  }
  std::unique_ptr<Scalar, decltype(&std::free)> data_;
  int64_t taken_ = 0;
};

/// One head of one sequence, as it lies there; what is packed is of the type that loops compute in.
template <class Scalar>
struct Matrix {
  const Scalar* data;
  int64_t rows, columns, by_row;
};

template <class Scalar>
Matrix<Scalar> matrix_of(const HeadRows<const Scalar>& rows, int64_t s, int64_t h, int64_t first, int64_t count,
                         int64_t width) {
  return {rows.row(s, h, first), count, width, rows.by_position};
}

/// to [padded_rows, padded_columns]
template <class Scalar>
[[gnu::always_inline]] inline void pack(const Matrix<Scalar>& from, int64_t padded_rows, int64_t padded_columns,
                                        Wide<Scalar>* to) {
  for (int64_t r = 0; r < padded_rows; ++r, to += padded_columns) {
    const int64_t columns = r < from.rows ? from.columns : 0;
    const Scalar* row = from.data + r * from.by_row;
    for (int64_t c = 0; c < columns; ++c) to[c] = row[c];
    for (int64_t c = columns; c < padded_columns; ++c) to[c] = 0;
  }
}

/// to [columns, padded_rows]: a row after another, whose places' cache lines then serve the next ones.
template <class Scalar>
[[gnu::always_inline]] inline void pack_transposed(const Matrix<Scalar>& from, int64_t padded_rows, Wide<Scalar>* to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    for (int64_t c = 0; c < from.columns; ++c) to[c * padded_rows + r] = from.data[r * from.by_row + c];
  }
  for (int64_t c = 0; c < from.columns; ++c) {
    for (int64_t r = from.rows; r < padded_rows; ++r) to[c * padded_rows + r] = 0;
  }
}

/// Of a query the logits that are not seen become -inf; returns for how many keys there may be others.
template <class Scalar>
[[gnu::always_inline]] inline void hide(const AttentionShape& shape, const SeenKeys& seen, int64_t s, int64_t h,
                                        int64_t query, int64_t columns, Scalar* logits) {
  constexpr Scalar kNever = -std::numeric_limits<Scalar>::infinity();
  const int64_t keys = shape.causal ? std::min(shape.keys, query + 1) : shape.keys;
  for (int64_t k = keys; k < columns; ++k) logits[k] = kNever;
  if (seen.data == nullptr) return;
  const bool* row = seen.data + s * seen.by_sequence + h * seen.by_head + query * seen.by_query;
  for (int64_t k = 0; k < keys; ++k) logits[k] = row[k * seen.by_key] ? logits[k] : kNever;
}

/// Keys that some query of the block sees, in whole tiles.
inline int64_t keys_of_block(const AttentionShape& shape, const PaddedShape& padded, int64_t first_query) {
  return shape.causal ? std::min(padded.keys, up_to(first_query + kQueries, kTile)) : padded.keys;
}

}  // namespace parallel
