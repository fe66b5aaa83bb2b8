// defines: Communicator, ReduceOp, RowCounts: collective operations over a group of ranks; what they demand of tensors
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/comm/work.h"
#include "parallel/process/lane.h"

namespace parallel {

enum class ReduceOp { kSum, kMax };

/// Rows (first dimension) that go to or come from each rank of a group, in the order of ranks; any of them may be 0.
using RowCounts = std::vector<int64_t>;

/// An operation under way, perhaps of another communicator, that must be done before this one reads its tensors. Null:
/// none. An operation that comes after another has a lane that does not yield.
using After = std::shared_ptr<WorkState>;

/// A group of ranks. Every rank of the group issues the same operations in the same order, with the same shapes and
/// dtypes; a rank that has nothing to say sends zeros. Tensors are contiguous and of the communicator's device.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  /// In place: every rank ends with the reduction of all ranks' tensors. float32, float64, int64.
  [[nodiscard]] virtual Work all_reduce(at::Tensor tensor, ReduceOp op) = 0;

  /// gathered[r] = rank r's `part`. @pre gathered.sizes() == {size(), part.sizes()...}
  [[nodiscard]] virtual Work all_gather(at::Tensor gathered, at::Tensor part) = 0;

  /// Rows of `sent` go to the ranks in turn, sent_rows[r] of them to rank r; `received` gets received_rows[r] rows from
  /// rank r, in the order of ranks. Any dtype; rows of one shape. @pre sent_rows[r] here == received_rows[here] at r
  [[nodiscard]] virtual Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                        const RowCounts& sent_rows, const After& after = {}) = 0;

  /// `gathered` gets every rank's `part`, rows[r] of rank r, in the order of ranks. Any dtype. `rows` is the same on
  /// every rank. `part` may lie in `gathered` where it belongs: then it is not copied.
  [[nodiscard]] virtual Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows,
                                             const After& after = {}) = 0;

  /// The other way: `part` gets this rank's rows of the sum of all ranks' `whole`; rank r has rows[r] of them.
  /// float32, float64, int64. `rows` is the same on every rank.
  [[nodiscard]] virtual Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) = 0;

  /// What is issued from here on takes turns with the other operations of a link. Copies and parts are made without.
  /// Local and NCCL communicators take none: the one is at once, the other has a stream of its own.
  virtual void take_lane(Lane lane) = 0;
  /// Whether operations of several such groups are issued in the order in which they are called, so that the groups may
  /// share a lane without yielding.
  virtual bool issues_as_called() const { return true; }

  /// A second communicator over the same ranks: another traffic class, ordered apart from this one. Collective.
  virtual std::shared_ptr<Communicator> duplicate() = 0;

  /// One communicator for each color, ranks ordered by key (ties: by rank here). Collective.
  virtual std::shared_ptr<Communicator> split(int64_t color, int64_t key) = 0;
};

/// What every communicator demands of its tensors, the group of one too: a fault must not depend on the layout.
void check_reducible(const at::Tensor& tensor);
void check_gatherable(const at::Tensor& gathered, const at::Tensor& part, int64_t ranks);
void check_exchangeable(const at::Tensor& received, const at::Tensor& sent, const RowCounts& received_rows,
                        const RowCounts& sent_rows, int64_t ranks);
/// `part`: the rows of rank `rank` of `whole`.
void check_row_parts(const at::Tensor& whole, const at::Tensor& part, const RowCounts& rows, int64_t rank,
                     int64_t ranks);
/// Bytes of one row.
int64_t row_bytes(const at::Tensor& tensor);
/// Bytes of the rows that go to ranks other than `rank`. Counts of too few ranks are no fault here.
int64_t bytes_for_others(const at::Tensor& rows, const RowCounts& by_rank, int64_t rank);

}  // namespace parallel
