// defines: CheckedCommunicator, checked, unwrapped: collectives that the ranks agree on before they are issued
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "parallel/comm/collective_call.h"

namespace parallel {

/// Passes every operation on once all ranks of the group have called the same one: equal sequence number, operation,
/// reduce op, dtype, device, shape, row counts and purpose of the group; in an all_to_all each rank is sent the rows
/// that it waits for. Results are those of `wrapped`, bit for bit. Where they differ every rank gets InternalError
/// ("group 'tokens': the ranks disagree: rank 2 called all_gather float32 [3, 4] as call 17; ranks 0, 1 called
/// all_reduce sum int64 [8] as call 17"); nothing of that call, nor of any later one of the group, is issued.
///
/// No deadlock: the check of an asynchronous operation runs on a thread of this group, which then issues the operation.
/// The caller waits only where it would anyway (Work::wait), so groups may be used in another order on each rank. A
/// check waits for the same call of the same group on the other ranks, as the operation would. Calls of a group are
/// checked one at a time, in order, so many may be outstanding, and after a disagreement no rank is left with a check
/// under way. CUDA tensors, refused tensors, duplicate and split are checked on the caller's time and issued on its
/// thread: NCCL needs the caller's stream and one order over all groups of a rank.
///
/// Limits. A rank that never comes is waited for, as without checks: MPI's engine has no wait with a limit. A blocking
/// action of the engine (parallel HDF5, an unchecked duplicate) may begin only where no checked operation is
/// outstanding. No check in a group of one.
///
/// Cost: about one more small collective for each. Waited-for all-reduces of 32 bytes took 0.15 ms unchecked and 0.25
/// ms checked on 2 ranks, 0.5 and 1.1 ms on 3 ranks (two cores that other programs shared). While a check waits for a
/// late rank, the engine polls as for a caller that waits.
class CheckedCommunicator : public Communicator {
 public:
  /// `control`: the same ranks in the same order, CPU tensors, used by nobody else. `purpose` names the group. Up to
  /// `few_ranks` tell the rows of an exchange with the call; of more, whose rows are the square of many numbers, only
  /// exchanges cost a further message.
  CheckedCommunicator(std::shared_ptr<Communicator> wrapped, std::shared_ptr<Communicator> control, std::string purpose,
                      int64_t few_ranks = 32);
  /// Waits for what was called; the ranks do not agree on it.
  ~CheckedCommunicator() override;

  int64_t rank() const override { return wrapped_->rank(); }
  int64_t size() const override { return wrapped_->size(); }
  Work all_reduce(at::Tensor tensor, ReduceOp op) override;
  Work all_gather(at::Tensor gathered, at::Tensor part) override;
  Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows, const RowCounts& sent_rows,
                  const After& after) override;
  Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) override;
  Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) override;
  void take_lane(Lane lane) override;
  bool issues_as_called() const override { return !checker_; }  // each group's calls wait for their own checks
  /// Checked too, under a purpose such as "tokens.1", by the number of this call among these two.
  std::shared_ptr<Communicator> duplicate() override;
  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override;

  /// The communicator below, everything called so far issued on it.
  Communicator& wrapped();

 private:
  struct Checked;
  class CheckedWork;
  class Checker;

  Work issue(CollectiveCall call, const at::Tensor& tensor, const std::function<void()>& demands,
             std::function<Work()> action, const RowCounts& sent_rows = {}, const RowCounts& received_rows = {});
  void agree(CollectiveCall call);
  std::string child_purpose();

  std::shared_ptr<Communicator> wrapped_, control_;
  std::string purpose_;
  int64_t children_ = 0;
  std::unique_ptr<Checker> checker_;  // null in a group of one
};

/// `group` (CPU tensors) under checks that use a duplicate of it. Collective.
std::shared_ptr<Communicator> checked(std::shared_ptr<Communicator> group, std::string purpose);

/// What is below counts and checks; `group` itself where there are none.
Communicator& unwrapped(Communicator& group);

}  // namespace parallel
