#include "parallel/comm/communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

void check_rows(const at::Tensor& tensor, const RowCounts& rows, int64_t ranks, const char* what) {
  check_internal(static_cast<int64_t>(rows.size()) == ranks, what, ": ", rows.size(), " row counts in a group of ",
                 ranks, " ranks");
  check_internal(std::all_of(rows.begin(), rows.end(), [](int64_t count) { return count >= 0; }), what,
                 ": negative rows");
  check_internal(tensor.dim() >= 1 && tensor.is_contiguous() &&
                     tensor.size(0) == std::accumulate(rows.begin(), rows.end(), int64_t{0}),
                 what, ": tensor of shape ", tensor.sizes(), " must be contiguous and hold the rows of all ranks");
}

void check_same_rows(const at::Tensor& a, const at::Tensor& b, const char* what) {
  check_internal(a.scalar_type() == b.scalar_type() && a.device() == b.device() && a.dim() == b.dim() &&
                     a.sizes().slice(1) == b.sizes().slice(1),
                 what, ": rows of ", a.scalar_type(), " ", a.sizes(), " and of ", b.scalar_type(), " ", b.sizes());
}

}  // namespace

void check_reducible(const at::Tensor& tensor) {
  const at::ScalarType type = tensor.scalar_type();
  check_internal(type == at::kFloat || type == at::kDouble || type == at::kLong, "Communicator: tensor of type ", type,
                 "; legal: float32, float64, int64");
  check_internal(tensor.is_contiguous(), "Communicator: tensor of shape ", tensor.sizes(), " must be contiguous");
}

void check_gatherable(const at::Tensor& gathered, const at::Tensor& part, int64_t ranks) {
  check_reducible(gathered);
  check_reducible(part);
  check_internal(gathered.dim() == part.dim() + 1 && gathered.size(0) == ranks &&
                     gathered.sizes().slice(1) == part.sizes() && gathered.scalar_type() == part.scalar_type(),
                 "all_gather: ", part.scalar_type(), " ", part.sizes(), " from each of ", ranks,
                 " ranks does not fill ", gathered.scalar_type(), " ", gathered.sizes());
}

void check_exchangeable(const at::Tensor& received, const at::Tensor& sent, const RowCounts& received_rows,
                        const RowCounts& sent_rows, int64_t ranks) {
  check_rows(received, received_rows, ranks, "all_to_all");
  check_rows(sent, sent_rows, ranks, "all_to_all");
  check_same_rows(received, sent, "all_to_all");
}

void check_row_parts(const at::Tensor& whole, const at::Tensor& part, const RowCounts& rows, int64_t rank,
                     int64_t ranks) {
  check_rows(whole, rows, ranks, "rows of ranks");
  check_same_rows(whole, part, "rows of ranks");
  check_internal(part.is_contiguous() && part.size(0) == rows[static_cast<size_t>(rank)], "rows of ranks: rank ", rank,
                 " has ", rows[static_cast<size_t>(rank)], " rows, its part is of shape ", part.sizes());
}

int64_t row_bytes(const at::Tensor& tensor) {
  int64_t bytes = tensor.element_size();
  for (int64_t d = 1; d < tensor.dim(); ++d) bytes *= tensor.size(d);
  return bytes;
}

int64_t bytes_for_others(const at::Tensor& rows, const RowCounts& by_rank, int64_t rank) {
  int64_t others = 0;
  for (size_t r = 0; r < by_rank.size(); ++r) others += static_cast<int64_t>(r) == rank ? 0 : by_rank[r];
  return others == 0 ? 0 : others * row_bytes(rows);
}

}  // namespace parallel
