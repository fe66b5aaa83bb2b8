// defines: Peak, peak_of, count_from: the largest of a row of numbers, and what is near it
#pragma once
#include <cstdint>

namespace parallel {

// float or double

template <class Scalar>
struct Peak {
  Scalar largest;  // of those that are numbers; -infinity where there are none
  bool finite;     // all of them
};
template <class Scalar>
Peak<Scalar> peak_of(const Scalar* x, int64_t count);

/// How many are at least that.
template <class Scalar>
int64_t count_from(const Scalar* x, int64_t count, Scalar least);

}  // namespace parallel
