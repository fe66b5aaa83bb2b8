// defines: token_splits, shard_of, sum_over_ranks: a global micro-batch spread over the test's ranks
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

/// Ways to spread `tokens` over `ranks`, each a count of every rank: as even as can be; uneven; the first rank empty;
/// all on the last rank. On one rank they are all the same.
inline std::vector<std::vector<int64_t>> token_splits(int64_t tokens, int64_t ranks) {
  const auto count = static_cast<size_t>(ranks);
  std::vector<int64_t> even(count), uneven(count, 1), first_empty(count, 0), last(count, 0);
  for (int64_t r = 0; r < ranks; ++r) even[static_cast<size_t>(r)] = tokens * (r + 1) / ranks - tokens * r / ranks;
  uneven[0] = tokens - (ranks - 1);
  first_empty.back() = ranks > 2 ? tokens - 3 : tokens;
  if (ranks > 2) first_empty[1] = 3;
  last.back() = tokens;
  if (ranks == 1) return {even};
  return {even, uneven, first_empty, last};
}

/// This rank's rows of `whole`.
inline at::Tensor shard_of(const at::Tensor& whole, const std::vector<int64_t>& split) {
  const auto rank = static_cast<size_t>(test_world()->rank());
  int64_t begin = 0;
  for (size_t r = 0; r < rank; ++r) begin += split[r];
  return whole.narrow(0, begin, split[rank]);
}

inline at::Tensor sum_over_ranks(const at::Tensor& tensor) {
  at::Tensor sum = tensor.detach().contiguous().clone();
  test_world()->all_reduce(sum, parallel::ReduceOp::kSum).wait();
  return sum;
}
