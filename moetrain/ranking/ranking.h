// The order of computed numbers, in which round-off has no say.
// defines: tie_bound, Graded, by_ratio, by_difference, largest_k, largest_k_by_sorting, largest_by_difference, Claim,
// rank, rank_around
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace moetrain {

// Tokens with the same history, experts with equal weights, hypotheses of the same words in another order have scores
// that are equal mathematically, and computed they differ in their last bits, otherwise on each layout and processor.
// So numbers are sorted, neighbours whose gap is at most tie_bound times their magnitude are joined, and joined ones
// are ordered by index. A grid would part some equal ones at its edges; here a gap decides otherwise on another layout
// only where it lies within round-off r of the bound itself: of N numbers spread over a range of 1, a cut at one place
// is at risk with a probability of about 2 r N (float64: r = 1e-13 and N = 1e5 make 2e-8), whatever the number of
// mathematical ties.

/// Relative to what was added up. float64: 2^-30, a thousand times the round-off of the first updates (1e-12). float32
/// (and what has been computed in it): 2^-18, the round-off of some layers; still small beside the gap that a change of
/// weights or of implementation needs (bf16 activations are 2^-9 apart).
double tie_bound(at::ScalarType computed_in);

/// Numbers to choose by.
struct Graded {
  at::Tensor value_TE;      // float32 or float64
  at::Tensor magnitude_TE;  // >= 0, of what each was computed from: its error is a share of this
  double bound = 0;
};

/// Positive numbers whose errors are shares of themselves: probabilities, sigmoids.
Graded by_ratio(const at::Tensor& value_TE);
/// Logits and logarithms: errors are shares of max(1, |value|). `computed_in`: the narrowest type on the way.
Graded by_difference(const at::Tensor& value_TE, at::ScalarType computed_in);

/// The K largest of each row, largest first, joined ones in order of their index; NaN counts as the smallest. The same
/// on every device. [T, E] -> int64 [T, K]
at::Tensor largest_k(const Graded& graded, int64_t k);
/// The same by LibTorch's operations alone: what other devices than the CPU do.
at::Tensor largest_k_by_sorting(const Graded& graded, int64_t k);
/// The first of a row of logits, [V], in the order of by_difference: in two sweeps where none is near the largest.
int64_t largest_by_difference(const at::Tensor& value_V, at::ScalarType computed_in);

/// One number of a list.
struct Claim {
  double value = 0;
  double magnitude = 0;
  int64_t order = 0;  // among joined ones the smaller comes first; distinct
};

/// Sorts them all.
void rank(std::span<Claim> claims, double bound);

/// Only so far that the first `count` are the ones that come first. A class of joined claims that reaches further than
/// 16 bounds (a crowd without gaps: float32 and 1e5 claims and more) is cut at its largest gap within them, so that
/// values have the say again.
void rank_around(std::span<Claim> claims, int64_t count, double bound);

}  // namespace moetrain
