// defines: CollectiveCall, disagreement: one call of a collective as ranks compare it
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"

namespace parallel {

/// What one rank called, as the words that cross the wire: no padding, compared bytewise.
struct CollectiveCall {
  enum class Operation : int64_t {
    kAllReduce,
    kAllGather,
    kAllToAll,
    kAllGatherRows,
    kReduceScatterRows,
    kDuplicate,
    kSplit
  };
  static constexpr int64_t kAbsent = -1;
  static constexpr int64_t kShownDims = 8;      // a longer shape is compared by these, its length and its element count
  static constexpr int64_t kPurposeBytes = 64;  // what is compared of a purpose

  int64_t sequence = 0;
  Operation operation = Operation::kAllReduce;
  int64_t reduce = kAbsent, type = kAbsent, device = kAbsent, refused = 0;
  int64_t dims = kAbsent, elements = 0;
  int64_t sizes[kShownDims] = {};
  int64_t ranks = kAbsent, rows[kShownDims] = {}, rows_digest = 0;  // row counts that are the same on every rank
  char purpose[kPurposeBytes] = {};

  /// "all_reduce sum float32 [3, 4] as call 17".
  std::string describe() const;
  /// What is compared of a tensor that has one shape on every rank.
  static CollectiveCall on(const at::Tensor& tensor);
  /// Where the first dimension may differ from rank to rank, and `rows` may not.
  static CollectiveCall on_rows(const at::Tensor& tensor, const RowCounts& rows);
};

/// What the ranks called, where these calls, by rank, are not all the same, in words that are the same on every rank.
std::string disagreement(const std::vector<CollectiveCall>& calls);

}  // namespace parallel
