#include "parallel/dispatch/expert_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

using Rows = std::vector<int64_t>;

int64_t sum(const Rows& rows) { return std::accumulate(rows.begin(), rows.end(), int64_t{0}); }

/// rows[b][e]: what rank b of the group has for expert e. Collective.
std::vector<Rows> exchange_counts(Communicator& group, const Rows& own, at::Device device) {
  const auto experts = static_cast<int64_t>(own.size());
  at::Tensor all = at::empty({group.size(), experts}, at::TensorOptions(at::kLong).device(device));
  group.all_gather(all, at::tensor(own, at::kLong).to(device)).wait();
  const at::Tensor host = all.to(at::kCPU);
  std::vector<Rows> rows;
  for (int64_t b = 0; b < group.size(); ++b) {
    const int64_t* from = host.const_data_ptr<int64_t>() + b * experts;
    rows.emplace_back(from, from + experts);
  }
  return rows;
}

/// One rank's rows lie one after another in a stream: sorted by expert, then by the rank they come from. Calls
/// action(source, expert, rows) for each block of it, cut to the window [begin, end) of the stream.
template <class Action>
void for_each_block(const std::vector<Rows>& rows_BE, int64_t first, int64_t count, int64_t begin, int64_t end,
                    Action&& action) {
  int64_t place = 0;
  for (int64_t e = first; e < first + count; ++e) {
    for (size_t b = 0; b < rows_BE.size(); ++b) {
      const int64_t rows = rows_BE[b][static_cast<size_t>(e)];
      const int64_t inside = std::min(end, place + rows) - std::max(begin, place);
      if (inside > 0) action(b, static_cast<size_t>(e), inside);
      place += rows;
    }
  }
}

/// Sums of low precision would be rounded once for each rank.
bool reducible(const at::Tensor& rows) { return rows.scalar_type() == at::kFloat || rows.scalar_type() == at::kDouble; }

}  // namespace

ExpertExchange::ExpertExchange(const ExpertGroup& group, const Rows& rows_per_expert, at::Device device,
                               const at::Tensor& token_R)
    : group_(group), rows_(sum(rows_per_expert)), receive_rows_(rows_) {
  const Mesh& mesh = *group.mesh;
  if (mesh.experts().size() == 1) {
    passes_.push_back({.rows_per_expert = rows_per_expert});
    return;
  }
  const std::vector<Rows> rows_BE = exchange_counts(mesh.experts(), rows_per_expert, device);
  int64_t total = 0, most = 0;
  for (int64_t x = 0; x < mesh.shape().expert; ++x) {
    int64_t rows = 0;
    for_each_block(rows_BE, group.map.first(x), group.map.count(x), 0, INT64_MAX,
                   [&](size_t, size_t, int64_t count) { rows += count; });
    total += rows;
    most = std::max(most, rows);
  }
  const double share = static_cast<double>(total) / static_cast<double>(mesh.shape().expert);
  receive_rows_ = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(mesh.config().receive_bound * share)));
  const int64_t count = std::max<int64_t>(1, (most + receive_rows_ - 1) / receive_rows_);
  for (int64_t p = 0; p < count; ++p) passes_.push_back(make_pass(rows_BE, p, device));
  if (mesh.dispatches_by_host() && token_R.defined()) {
    by_host_ = std::make_shared<const HostExchange>(group.mesh, rows_between(rows_BE), token_R);
  }
}

std::vector<RowsBetween> ExpertExchange::rows_between(const std::vector<Rows>& rows_BE) const {
  const Mesh& mesh = *group_.mesh;
  const auto ranks = static_cast<size_t>(mesh.shape().expert), parts = static_cast<size_t>(mesh.shape().expert_tensor);
  const auto part = static_cast<size_t>(mesh.place().expert_tensor);
  std::vector<RowsBetween> all;
  for (int64_t p = 0; p < passes(); ++p) {
    RowsBetween& between = all.emplace_back();
    between.begin_X = pass_of(p).sent_begin;
    between.rows_SX.assign(ranks, Rows(ranks, 0));
    for (size_t x = 0; x < ranks; ++x) {
      const auto rank = static_cast<int64_t>(x);
      for_each_block(rows_BE, group_.map.first(rank), group_.map.count(rank), p * receive_rows_,
                     (p + 1) * receive_rows_, [&](size_t b, size_t, int64_t n) {
                       if (b % parts == part) between.rows_SX[b / parts][x] += n;
                     });
    }
  }
  return all;
}

ExpertExchange::Pass ExpertExchange::make_pass(const std::vector<Rows>& rows_BE, int64_t pass,
                                               at::Device device) const {
  const Mesh& mesh = *group_.mesh;
  const auto& [data, tensor, expert_data, expert, expert_tensor] = mesh.place();
  const auto experts = static_cast<size_t>(mesh.shape().expert),
             parts = static_cast<size_t>(mesh.shape().expert_tensor);
  const auto own = static_cast<size_t>(mesh.experts().rank());
  const int64_t begin = pass * receive_rows_, end = begin + receive_rows_;
  Pass result{.sent_begin = Rows(experts), .sent = Rows(experts), .received = Rows(experts), .gathered = Rows(parts)};
  // Within the window of a receiver lies one range of this rank's rows: both are in the same order.
  int64_t offset = 0;
  for (size_t x = 0; x < experts; ++x) {
    const int64_t first = group_.map.first(static_cast<int64_t>(x)), count = group_.map.count(static_cast<int64_t>(x));
    int64_t earlier = 0, inside = 0;
    for_each_block(rows_BE, first, count, 0, begin, [&](size_t b, size_t, int64_t n) { earlier += b == own ? n : 0; });
    for_each_block(rows_BE, first, count, begin, end, [&](size_t b, size_t, int64_t n) { inside += b == own ? n : 0; });
    result.sent_begin[x] = offset + earlier;
    result.sent[x] = inside;
    for (int64_t e = first; e < first + count; ++e) offset += rows_BE[own][static_cast<size_t>(e)];
  }
  // Rows arrive by rank of the expert_tensor axis, then by rank of the expert axis, then by expert.
  const int64_t first = group_.map.first(expert), count = group_.map.count(expert);
  std::vector<Rows> inside_BE(rows_BE.size(), Rows(static_cast<size_t>(count), 0));
  for_each_block(rows_BE, first, count, begin, end,
                 [&](size_t b, size_t e, int64_t n) { inside_BE[b][e - static_cast<size_t>(first)] = n; });
  std::vector<Rows> place_BE = inside_BE;
  int64_t place = 0;
  for (size_t t = 0; t < parts; ++t) {
    for (size_t x = 0; x < experts; ++x) {
      const size_t b = x * parts + t;
      const int64_t rows = sum(inside_BE[b]);
      result.gathered[t] += rows;
      if (t == static_cast<size_t>(expert_tensor)) result.received[x] = rows;
      for (size_t e = 0; e < static_cast<size_t>(count); ++e) {
        place_BE[b][e] = place;
        place += inside_BE[b][e];
      }
    }
  }
  result.rows_per_expert.assign(static_cast<size_t>(count), 0);
  Rows arrival;
  for (size_t e = 0; e < static_cast<size_t>(count); ++e) {
    for (size_t b = 0; b < rows_BE.size(); ++b) {
      for (int64_t i = 0; i < inside_BE[b][e]; ++i) arrival.push_back(place_BE[b][e] + i);
      result.rows_per_expert[e] += inside_BE[b][e];
    }
  }
  if (std::is_sorted(arrival.begin(), arrival.end())) return result;
  const at::Tensor arrival_N = at::tensor(arrival, at::kLong);
  result.sorted_N =
      at::empty_like(arrival_N).scatter_(0, arrival_N, at::arange(arrival_N.numel(), at::kLong)).to(device);
  result.arrival_N = arrival_N.to(device);
  return result;
}

at::Tensor ExpertExchange::dispatch(const at::Tensor& rows_RD, int64_t pass, const HostExchange* by_host) const {
  const Mesh& mesh = *group_.mesh;
  if (mesh.experts().size() == 1) return rows_RD;
  const Pass& way = pass_of(pass);
  const int64_t width = rows_RD.size(1);
  at::Tensor rows = rows_RD;
  if (by_host != nullptr) {
    rows = by_host->all_to_all(rows_RD, pass);
  } else if (mesh.shape().expert > 1) {
    at::Tensor sent = rows_RD.contiguous();
    if (passes() > 1) {
      std::vector<at::Tensor> ranges;
      for (size_t x = 0; x < way.sent.size(); ++x) ranges.push_back(rows_RD.narrow(0, way.sent_begin[x], way.sent[x]));
      sent = at::cat(ranges);
    }
    rows = at::empty({sum(way.received), width}, rows_RD.options());
    mesh.expert().all_to_all(rows, sent, way.received, way.sent).wait();
  }
  if (mesh.shape().expert_tensor > 1) {
    at::Tensor all = at::empty({sum(way.gathered), width}, rows_RD.options());
    mesh.expert_tensor().all_gather_rows(all, rows.contiguous(), way.gathered).wait();
    rows = all;
  }
  return way.arrival_N.defined() ? rows.index_select(0, way.arrival_N) : rows;
}

void ExpertExchange::combine(const at::Tensor& out_ND, int64_t pass, at::Tensor& rows_RD) const {
  const Mesh& mesh = *group_.mesh;
  if (mesh.experts().size() == 1) {
    rows_RD = out_ND;
    return;
  }
  const Pass& way = pass_of(pass);
  const int64_t width = out_ND.size(1);
  at::Tensor rows = way.sorted_N.defined() ? out_ND.index_select(0, way.sorted_N) : out_ND.contiguous();
  if (mesh.shape().expert_tensor > 1) {
    const at::Tensor summands = reducible(rows) ? rows : rows.to(at::kFloat);
    const int64_t own = way.gathered[static_cast<size_t>(mesh.place().expert_tensor)];
    at::Tensor part = at::empty({own, width}, summands.options());
    mesh.expert_tensor().reduce_scatter_rows(part, summands, way.gathered).wait();
    rows = part.to(out_ND.scalar_type());
  }
  if (mesh.shape().expert > 1) {
    at::Tensor back = at::empty({sum(way.sent), width}, out_ND.options());
    mesh.expert().all_to_all(back, rows, way.sent, way.received).wait();
    rows = back;
  }
  if (passes() == 1) {
    rows_RD = rows;
    return;
  }
  if (!rows_RD.defined()) rows_RD = at::empty({rows_, width}, out_ND.options());
  int64_t place = 0;
  for (size_t x = 0; x < way.sent.size(); ++x) {
    rows_RD.narrow(0, way.sent_begin[x], way.sent[x]).copy_(rows.narrow(0, place, way.sent[x]));
    place += way.sent[x];
  }
}

}  // namespace parallel
