#include "parallel/comm/local_communicator.h"

namespace parallel {

Work LocalCommunicator::all_reduce(at::Tensor tensor, ReduceOp) {
  check_reducible(tensor);
  return {};
}

Work LocalCommunicator::all_gather(at::Tensor gathered, at::Tensor part) {
  check_gatherable(gathered, part, size());
  gathered.copy_(part.unsqueeze(0));
  return {};
}

Work LocalCommunicator::all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                   const RowCounts& sent_rows, const After& after) {
  if (after) after->wait();
  check_exchangeable(received, sent, received_rows, sent_rows, size());
  received.copy_(sent);
  return {};
}

Work LocalCommunicator::all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows,
                                        const After& after) {
  if (after) after->wait();
  check_row_parts(gathered, part, rows, rank(), size());
  gathered.copy_(part);
  return {};
}

Work LocalCommunicator::reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) {
  check_reducible(whole);
  check_row_parts(whole, part, rows, rank(), size());
  part.copy_(whole);
  return {};
}

void LocalCommunicator::take_lane(Lane) {}

std::shared_ptr<Communicator> LocalCommunicator::duplicate() { return std::make_shared<LocalCommunicator>(); }

std::shared_ptr<Communicator> LocalCommunicator::split(int64_t, int64_t) { return duplicate(); }

}  // namespace parallel
