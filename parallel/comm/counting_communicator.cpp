#include "parallel/comm/counting_communicator.h"

#include <utility>

namespace parallel {

CountingCommunicator::CountingCommunicator(std::shared_ptr<Communicator> counted, std::string axis,
                                           std::shared_ptr<TrafficLedger> ledger)
    : counted_(std::move(counted)), axis_(std::move(axis)), ledger_(std::move(ledger)) {}

void CountingCommunicator::note(const char* operation, int64_t bytes) {
  ledger_->add(axis_, operation, size() > 1 ? bytes : 0);
}

Work CountingCommunicator::all_reduce(at::Tensor tensor, ReduceOp op) {
  note("all_reduce", static_cast<int64_t>(tensor.nbytes()));
  return counted_->all_reduce(std::move(tensor), op);
}

Work CountingCommunicator::all_gather(at::Tensor gathered, at::Tensor part) {
  note("all_gather", static_cast<int64_t>(part.nbytes()));
  return counted_->all_gather(std::move(gathered), std::move(part));
}

Work CountingCommunicator::all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                      const RowCounts& sent_rows, const After& after) {
  note("all_to_all", bytes_for_others(sent, sent_rows, rank()));
  return counted_->all_to_all(std::move(received), std::move(sent), received_rows, sent_rows, after);
}

Work CountingCommunicator::all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows,
                                           const After& after) {
  note("all_gather_rows", static_cast<int64_t>(part.nbytes()));
  return counted_->all_gather_rows(std::move(gathered), std::move(part), rows, after);
}

Work CountingCommunicator::reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) {
  note("reduce_scatter_rows", bytes_for_others(whole, rows, rank()));
  return counted_->reduce_scatter_rows(std::move(part), std::move(whole), rows);
}

void CountingCommunicator::take_lane(Lane lane) { counted_->take_lane(lane); }

std::shared_ptr<Communicator> CountingCommunicator::duplicate() {
  return std::make_shared<CountingCommunicator>(counted_->duplicate(), axis_, ledger_);
}

std::shared_ptr<Communicator> CountingCommunicator::split(int64_t color, int64_t key) {
  return std::make_shared<CountingCommunicator>(counted_->split(color, key), axis_, ledger_);
}

std::shared_ptr<Communicator> counted_as(const std::string& axis, std::shared_ptr<Communicator> group) {
  const auto counting = std::dynamic_pointer_cast<CountingCommunicator>(group);
  if (counting == nullptr) return group;
  return std::make_shared<CountingCommunicator>(counting->counted(), axis, counting->ledger());
}

}  // namespace parallel
