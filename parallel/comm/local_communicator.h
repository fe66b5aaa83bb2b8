// defines: LocalCommunicator, a group of one
#pragma once
#include "parallel/comm/communicator.h"

namespace parallel {

/// A group of one rank: every operation is the identity, on any device. Never null, so nobody forks on size.
class LocalCommunicator : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  Work all_reduce(at::Tensor tensor, ReduceOp op) override;
  Work all_gather(at::Tensor gathered, at::Tensor part) override;
  Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows, const RowCounts& sent_rows,
                  const After& after) override;
  Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) override;
  Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) override;
  void take_lane(Lane lane) override;
  std::shared_ptr<Communicator> duplicate() override;
  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override;
};

}  // namespace parallel
