#include "parallel/comm/agreement.h"

#include <ATen/ATen.h>

#include <cstring>
#include <exception>
#include <numeric>

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

std::vector<std::string> gather_texts(Communicator& group, const std::string& text) {
  const int64_t ranks = group.size();
  at::Tensor lengths = at::empty({ranks, 1}, at::kLong);
  group.all_gather(lengths, at::full({1}, static_cast<int64_t>(text.size()), at::kLong)).wait();
  const RowCounts rows(lengths.const_data_ptr<int64_t>(), lengths.const_data_ptr<int64_t>() + ranks);
  at::Tensor part = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  if (!text.empty()) std::memcpy(part.data_ptr(), text.data(), text.size());
  at::Tensor gathered = at::empty({std::accumulate(rows.begin(), rows.end(), int64_t{0})}, at::kByte);
  group.all_gather_rows(gathered, part, rows).wait();
  std::vector<std::string> texts;
  const char* place = static_cast<const char*>(gathered.data_ptr());
  for (const int64_t length : rows) {
    texts.emplace_back(place, static_cast<size_t>(length));
    place += length;
  }
  return texts;
}

}  // namespace parallel
