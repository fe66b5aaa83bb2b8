#include "parallel/comm/collective_call.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

constexpr const char* kOperationNames[] = {"all_reduce",          "all_gather", "all_to_all", "all_gather_rows",
                                           "reduce_scatter_rows", "duplicate",  "split"};  // by Call::Operation
constexpr int64_t kAnyRows = -1;  // a first dimension that may differ from rank to rank

std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kLong:
      return "int64";
    default:
      return c10::toString(type);
  }
}

/// "rank 2", or "ranks 0, 1, 5".
std::string name_ranks(const std::vector<int64_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += concat(i == 0 ? "" : ", ", ranks[i]);
  return text;
}

}  // namespace

std::string CollectiveCall::describe() const {
  std::string text = kOperationNames[static_cast<size_t>(operation)];
  if (reduce != kAbsent) text += reduce == static_cast<int64_t>(ReduceOp::kSum) ? " sum" : " max";
  if (type != kAbsent) text += " " + type_name(static_cast<at::ScalarType>(type)) + " [";
  for (int64_t i = 0; i < std::min(dims, kShownDims); ++i) {
    text += i == 0 ? "" : ", ";
    text += sizes[i] == kAnyRows ? "*" : std::to_string(sizes[i]);
  }
  if (dims > kShownDims) text += concat(", ... of ", dims, " dims, ", elements, " elements");
  if (type != kAbsent) text += "]";
  if (device != kAbsent && device != static_cast<int64_t>(at::kCPU)) {
    text += " on " + c10::DeviceTypeName(static_cast<c10::DeviceType>(device), /*lower_case=*/true);
  }
  if (ranks != kAbsent) text += " of";
  for (int64_t r = 0; r < std::min(ranks, kShownDims); ++r) text += concat(r == 0 ? " " : ", ", rows[r]);
  if (ranks != kAbsent) text += concat(ranks > kShownDims ? ", ..." : "", " rows");
  if (refused != 0) text += " (a tensor that communicators refuse)";
  return concat(text, " as call ", sequence);
}

CollectiveCall CollectiveCall::on(const at::Tensor& tensor) {
  CollectiveCall call;
  call.type = static_cast<int64_t>(tensor.scalar_type());
  call.device = static_cast<int64_t>(tensor.device().type());
  call.dims = tensor.dim();
  call.elements = tensor.numel();
  for (int64_t i = 0; i < std::min(call.dims, kShownDims); ++i) call.sizes[i] = tensor.size(i);
  return call;
}

CollectiveCall CollectiveCall::on_rows(const at::Tensor& tensor, const RowCounts& rows) {
  CollectiveCall call = on(tensor);
  call.sizes[0] = kAnyRows;
  call.elements = 0;
  call.ranks = static_cast<int64_t>(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r < kShownDims) call.rows[r] = rows[r];
    call.rows_digest = (call.rows_digest ^ rows[r]) * 0x100000001b3;  // FNV-1a's prime
  }
  return call;
}

std::string disagreement(const std::vector<CollectiveCall>& calls) {
  const auto purpose_of = [](const CollectiveCall& call) {
    return std::string(call.purpose, strnlen(call.purpose, sizeof(call.purpose)));
  };
  const bool one_purpose = std::all_of(
      calls.begin(), calls.end(), [&](const CollectiveCall& call) { return purpose_of(call) == purpose_of(calls[0]); });
  std::map<std::string, std::vector<int64_t>> callers;
  for (size_t r = 0; r < calls.size(); ++r) {
    const std::string of_group = one_purpose ? "" : " of group '" + purpose_of(calls[r]) + "'";
    callers[calls[r].describe() + of_group].push_back(static_cast<int64_t>(r));
  }
  std::string text = one_purpose ? "group '" + purpose_of(calls[0]) + "': the ranks disagree" : "the ranks disagree";
  const char* between = ": ";
  for (const auto& [words, ranks] : callers) {
    text += concat(between, name_ranks(ranks), " called ", words);
    between = "; ";
  }
  return text;
}

}  // namespace parallel
