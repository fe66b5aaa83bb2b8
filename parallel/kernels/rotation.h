// defines: Rotation, rotate_pairs: rotary positions applied in one sweep
#pragma once
#include <cstdint>

#include "parallel/kernels/head_rows.h"

namespace parallel {

// S sequences, H heads, L positions

struct Rotation {
  int64_t sequences, heads, positions, width;
  bool neighbours;                   // pairs (2 i, 2 i + 1); else (i, i + width / 2)
  bool back;                         // by the negative angle: the gradient's way
  const int64_t* place_S = nullptr;  // where a sequence's positions begin in the tables; null: at 0
};

/// Each pair (a, b) becomes (a cos - b sin, b cos + a sin) of its position and its place i in the head: cos_Lh and
/// sin_Lh, [L, width / 2], float, double or Bfloat16 (Su et al. 2021).
template <class Scalar>
void rotate_pairs(const Rotation& rotation, const HeadRows<const Scalar>& from, const Scalar* cos_Lh,
                  const Scalar* sin_Lh, const HeadRows<Scalar>& to);

}  // namespace parallel
