// defines: RowBlock, RowStreams: in which order the rows of all ranks travel to each rank of the expert axis
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/mesh/expert_map.h"

namespace parallel {

/// Rows that lie one after another in a stream and with their source.
struct RowBlock {
  int64_t source = 0, expert = 0;
  int64_t first = 0;  // of the source's rows for this expert
  int64_t rows = 0;
};

/// Of each rank x of the expert axis the stream of all rows bound for it: sorted by expert, then by part, then by the
/// rank that they come from. An expert's rows of each source are cut into even parts, so that any window of a stream
/// has its share of every link. Known alike to all B ranks that share a layer's experts.
class RowStreams {
 public:
  RowStreams() = default;  // of nobody
  /// `rows_BE`: [b][e], what rank b has for expert e; `own`: this rank. Takes B E steps: what each cut of the streams
  /// asks of this rank's rows is found here once.
  RowStreams(std::vector<std::vector<int64_t>> rows_BE, ExpertMap map, int64_t own);

  /// All that is bound for rank x.
  int64_t rows(int64_t x) const { return rows_X_[static_cast<size_t>(x)]; }
  int64_t sources() const { return static_cast<int64_t>(rows_BE_.size()); }
  /// This rank's rows, by expert.
  const std::vector<int64_t>& own_rows() const { return rows_BE_[static_cast<size_t>(own_)]; }
  /// Of this rank's rows, sorted by expert, the first for `expert`.
  int64_t first_own_row(int64_t expert) const { return first_own_E_[static_cast<size_t>(expert)]; }

  /// Rows begin .. end - 1 of the stream of rank x.
  std::vector<RowBlock> blocks(int64_t x, int64_t begin, int64_t end) const;
  /// Those of them that are this rank's.
  std::vector<RowBlock> own_blocks(int64_t x, int64_t begin, int64_t end) const;

 private:
  struct Placed {
    int64_t place = 0;  // in the stream
    RowBlock block;
  };
  int64_t parts(int64_t x) const;
  void place_own(int64_t x, int64_t expert, int64_t first_place);

  std::vector<std::vector<int64_t>> rows_BE_;
  ExpertMap map_;
  int64_t own_ = 0;
  std::vector<int64_t> rows_E_, first_own_E_, rows_X_;
  std::vector<std::vector<Placed>> own_X_;  // by place
};

}  // namespace parallel
