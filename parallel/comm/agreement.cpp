#include "parallel/comm/agreement.h"

#include <ATen/ATen.h>

#include <exception>

namespace parallel {

void all_ranks(Communicator& group, const std::function<void()>& action) {
  std::exception_ptr fault;
  try {
    action();
  } catch (const UserError&) {
    fault = std::current_exception();
  }
  // The largest of -rank among the ranks that failed is the first of them.
  const int64_t nobody = -group.size();
  at::Tensor first = at::full({1}, fault ? -group.rank() : nobody, at::kLong);
  group.all_reduce(first, ReduceOp::kMax).wait();
  const int64_t negated = first.item<int64_t>();
  if (negated == nobody) return;
  if (-negated == group.rank()) std::rethrow_exception(fault);
  throw ReportedElsewhere();
}

}  // namespace parallel
