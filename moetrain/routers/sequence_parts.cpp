#include "moetrain/routers/sequence_parts.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// First and last sequence of each rank, [R, 2]; -1 where it has no token.
at::Tensor gather_ends(const at::Tensor& sequence_T, const BatchScope& scope, at::Device device) {
  at::Tensor mine = at::full({2}, -1, at::kLong);
  if (sequence_T.numel() > 0) mine = at::stack({sequence_T[0], sequence_T[sequence_T.numel() - 1]});
  at::Tensor gathered = at::empty({scope.group.size(), 2}, at::TensorOptions(at::kLong).device(device));
  scope.group.all_gather(gathered, mine.to(device).contiguous()).wait();
  return gathered.to(at::kCPU);
}

}  // namespace

SequenceParts sequence_parts(const BatchScope& scope, at::Device device) {
  parallel::check_internal(scope.sequence_T.defined(), "sequence_parts: the tokens form no sequences");
  const at::Tensor sequence_T = scope.sequence_T.to(at::kCPU).contiguous();
  SequenceParts parts;
  int64_t first = -1, last = -1;
  for (int64_t t = 0; t < sequence_T.numel(); ++t) {
    const int64_t sequence = sequence_T.const_data_ptr<int64_t>()[t];
    parallel::check_internal(last < 0 || sequence == last || sequence == last + 1, "sequence ", sequence, " after ",
                             last);
    if (first < 0) first = sequence;
    if (sequence != last) parts.lengths.push_back(0);
    ++parts.lengths.back();
    last = sequence;
  }
  const at::Tensor ends_R2 = gather_ends(sequence_T, scope, device);
  const auto end = ends_R2.accessor<int64_t, 2>();
  int64_t before = -1, holder = -1, newest = -1;  // the last sequence so far, its first rank, the last shared one
  for (int64_t r = 0; r < ends_R2.size(0); ++r) {
    if (end[r][0] < 0) continue;
    if (end[r][0] == before && before != newest) {
      const bool here = first >= 0 && first <= before && before <= last;
      parts.shared.push_back({holder, here ? before - first : -1});
      newest = before;
    }
    if (end[r][1] != before) holder = r;
    before = end[r][1];
  }
  return parts;
}

}  // namespace moetrain
