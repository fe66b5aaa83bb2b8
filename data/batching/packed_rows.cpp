#include "data/batching/packed_rows.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "parallel/base/fault.h"

namespace data {

PackedRows::PackedRows(const std::vector<int64_t>& lengths, int64_t capacity) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int64_t sequence) { return lengths[static_cast<size_t>(sequence)]; };
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return length(a) > length(b); });
  std::set<std::pair<int64_t, int64_t>> room;  // (tokens that a row still takes, row)
  std::vector<int64_t> row_of(lengths.size());
  for (const int64_t sequence : order) {
    const int64_t needed = length(sequence);
    parallel::check_internal(needed >= 1 && needed <= capacity, "a sequence of ", needed, " in rows of ", capacity);
    auto found = room.lower_bound({needed, 0});
    if (found == room.end()) {
      found = room.insert({capacity, static_cast<int64_t>(tokens_.size())}).first;
      tokens_.push_back(0);
    }
    const auto [left, row] = *found;
    room.erase(found);
    if (left > needed) room.insert({left - needed, row});
    tokens_[static_cast<size_t>(row)] += needed;
    row_of[static_cast<size_t>(sequence)] = row;
  }
  sequences_ = std::move(order);
  std::ranges::stable_sort(sequences_, {}, [&](int64_t sequence) { return row_of[static_cast<size_t>(sequence)]; });
  starts_.assign(tokens_.size() + 1, 0);
  for (const int64_t row : row_of) ++starts_[static_cast<size_t>(row) + 1];
  std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
}

std::span<const int64_t> PackedRows::row(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  return std::span(sequences_)
      .subspan(static_cast<size_t>(starts_[i]), static_cast<size_t>(starts_[i + 1] - starts_[i]));
}

}  // namespace data
