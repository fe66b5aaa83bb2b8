// defines: HeadRows
#pragma once
#include <cstdint>

namespace parallel {

/// [S sequences, H heads, L positions, width], the last of them side by side, the others so many numbers apart.
template <class Scalar>
struct HeadRows {
  Scalar* data;
  int64_t by_sequence, by_head, by_position;

  Scalar* row(int64_t sequence, int64_t head, int64_t position) const {
    return data + sequence * by_sequence + head * by_head + position * by_position;
  }
};

}  // namespace parallel
