// defines: CountingCommunicator, counted_as: what goes over an axis, noted in a ledger
#pragma once
#include <memory>
#include <string>

#include "parallel/comm/communicator.h"
#include "parallel/comm/traffic_ledger.h"

namespace parallel {

/// Passes every operation on and notes a call of `axis` in a ledger, with its payload: the bytes that this rank hands
/// in and that are meant for others, whichever way the communicator below carries them.
///
///   all_to_all           the rows sent to ranks other than this one
///   all_gather, _rows    this rank's part, once
///   reduce_scatter_rows  the rows of `whole` that belong to others
///   all_reduce           the tensor, once
///
/// A group of one has no others: its payload is 0. Copies and parts count in the same ledger under the same axis,
/// until counted_as names them otherwise; making them is not counted.
class CountingCommunicator : public Communicator {
 public:
  CountingCommunicator(std::shared_ptr<Communicator> counted, std::string axis, std::shared_ptr<TrafficLedger> ledger);

  int64_t rank() const override { return counted_->rank(); }
  int64_t size() const override { return counted_->size(); }
  Work all_reduce(at::Tensor tensor, ReduceOp op) override;
  Work all_gather(at::Tensor gathered, at::Tensor part) override;
  Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows, const RowCounts& sent_rows,
                  const After& after) override;
  Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) override;
  Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) override;
  void take_lane(Lane lane) override;
  bool issues_as_called() const override { return counted_->issues_as_called(); }
  std::shared_ptr<Communicator> duplicate() override;
  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override;

  /// The communicator below.
  const std::shared_ptr<Communicator>& counted() const { return counted_; }
  const std::shared_ptr<TrafficLedger>& ledger() const { return ledger_; }

 private:
  void note(const char* operation, int64_t bytes);

  std::shared_ptr<Communicator> counted_;
  std::string axis_;
  std::shared_ptr<TrafficLedger> ledger_;
};

/// The same group, counted as `axis` in the ledger that it is counted in; `group` itself where it is not counted.
std::shared_ptr<Communicator> counted_as(const std::string& axis, std::shared_ptr<Communicator> group);

}  // namespace parallel
