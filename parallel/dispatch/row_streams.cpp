#include "parallel/dispatch/row_streams.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "parallel/base/even_part.h"

namespace parallel {
namespace {

/// A chunk should ask the same of all links, so an expert's rows lie in parts of which each has its share of every
/// rank's rows. So many parts for all experts of a rank together: two for a sixteenth of its rows.
constexpr int64_t kPartsOfStream = 32;

/// The sum over sources of where part p of `parts` begins, even_part(rows, p, parts).begin, without asking each source
/// for each part: floor(rows p / parts) is quotient p + floor(remainder p / parts), and there are few remainders.
class SumOfParts {
 public:
  explicit SumOfParts(int64_t parts) : of_remainder_(static_cast<size_t>(parts), 0) {}

  void add(int64_t rows) {
    quotients_ += rows / parts();
    ++of_remainder_[static_cast<size_t>(rows % parts())];
  }

  int64_t begin(int64_t part) const {
    int64_t sum = quotients_ * part;
    for (int64_t remainder = 1; remainder < parts(); ++remainder) {
      sum += of_remainder_[static_cast<size_t>(remainder)] * (remainder * part / parts());
    }
    return sum;
  }

 private:
  int64_t parts() const { return static_cast<int64_t>(of_remainder_.size()); }

  int64_t quotients_ = 0;
  std::vector<int64_t> of_remainder_;
};

}  // namespace

RowStreams::RowStreams(std::vector<std::vector<int64_t>> rows_BE, ExpertMap map, int64_t own)
    : rows_BE_(std::move(rows_BE)), map_(std::move(map)), own_(own) {
  const std::vector<int64_t>& of_own = rows_BE_[static_cast<size_t>(own)];
  first_own_E_.resize(of_own.size());
  std::exclusive_scan(of_own.begin(), of_own.end(), first_own_E_.begin(), int64_t{0});
  rows_E_.assign(of_own.size(), 0);
  for (const std::vector<int64_t>& rows : rows_BE_) {
    std::ranges::transform(rows_E_, rows, rows_E_.begin(), std::plus<>());
  }
  const auto ranks = static_cast<int64_t>(map_.counts.size());
  own_X_.resize(map_.counts.size());
  for (int64_t x = 0, expert = 0; x < ranks; ++x) {
    int64_t place = 0;
    for (const int64_t end = expert + map_.count(x); expert < end; ++expert) {
      place_own(x, expert, place);
      place += rows_E_[static_cast<size_t>(expert)];
    }
    rows_X_.push_back(place);
  }
}

int64_t RowStreams::parts(int64_t x) const { return (kPartsOfStream + map_.count(x) - 1) / map_.count(x); }

void RowStreams::place_own(int64_t x, int64_t expert, int64_t first_place) {
  const auto e = static_cast<size_t>(expert);
  if (rows_BE_[static_cast<size_t>(own_)][e] == 0) return;
  const int64_t parts = this->parts(x);
  SumOfParts all(parts), before(parts);
  for (int64_t b = 0; b < sources(); ++b) {
    all.add(rows_BE_[static_cast<size_t>(b)][e]);
    if (b < own_) before.add(rows_BE_[static_cast<size_t>(b)][e]);
  }
  int64_t before_part = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t before_next = before.begin(part + 1);
    const auto [first, rows] = even_part(rows_BE_[static_cast<size_t>(own_)][e], part, parts);
    const int64_t place = first_place + all.begin(part) + before_next - std::exchange(before_part, before_next);
    if (rows > 0) own_X_[static_cast<size_t>(x)].push_back({place, {own_, expert, first, rows}});
  }
}

std::vector<RowBlock> RowStreams::blocks(int64_t x, int64_t begin, int64_t end) const {
  std::vector<RowBlock> blocks;
  const int64_t first_expert = map_.first(x);
  int64_t place = 0;
  for (int64_t e = first_expert; e < first_expert + map_.count(x) && place < end; ++e) {
    const auto expert = static_cast<size_t>(e);
    if (place + rows_E_[expert] <= begin) {
      place += rows_E_[expert];
      continue;
    }
    const int64_t parts = this->parts(x);
    for (int64_t part = 0; part < parts && place < end; ++part) {
      for (int64_t b = 0; b < sources(); ++b) {
        const auto [first, rows] = even_part(rows_BE_[static_cast<size_t>(b)][expert], part, parts);
        const int64_t from = std::max(begin, place), to = std::min(end, place + rows);
        if (to > from) blocks.push_back({b, e, first + from - place, to - from});
        place += rows;
      }
    }
  }
  return blocks;
}

std::vector<RowBlock> RowStreams::own_blocks(int64_t x, int64_t begin, int64_t end) const {
  std::vector<RowBlock> blocks;
  const std::vector<Placed>& all = own_X_[static_cast<size_t>(x)];
  const auto ends_by = [](const Placed& placed, int64_t at) { return placed.place + placed.block.rows <= at; };
  for (auto it = std::lower_bound(all.begin(), all.end(), begin, ends_by); it != all.end() && it->place < end; ++it) {
    RowBlock block = it->block;
    const int64_t from = std::max(begin, it->place), to = std::min(end, it->place + block.rows);
    block.first += from - it->place;
    block.rows = to - from;
    blocks.push_back(block);
  }
  return blocks;
}

}  // namespace parallel
