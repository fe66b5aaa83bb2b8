#include "parallel/dispatch/expert_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "parallel/base/even_part.h"
#include "parallel/comm/summable.h"
#include "parallel/device/accelerator.h"

namespace parallel {
namespace {

using Rows = std::vector<int64_t>;

int64_t sum(const Rows& rows) { return std::accumulate(rows.begin(), rows.end(), int64_t{0}); }

/// rows[b][e]: what rank b of the group has for expert e. Collective.
std::vector<Rows> exchange_counts(Communicator& group, const at::Tensor& own_E) {
  const int64_t experts = own_E.numel();
  at::Tensor all_BE = own_E.unsqueeze(0);
  if (group.size() > 1) {
    all_BE = at::empty({group.size(), experts}, own_E.options());
    group.all_gather(all_BE, own_E).wait();
  }
  const at::Tensor host = all_BE.to(at::kCPU);
  std::vector<Rows> rows;
  for (int64_t b = 0; b < group.size(); ++b) {
    const int64_t* from = host.const_data_ptr<int64_t>() + b * experts;
    rows.emplace_back(from, from + experts);
  }
  return rows;
}

/// A chunk should ask the same of all links, so an expert's rows lie in parts of which each has its share of every
/// rank's rows. So many parts for all experts of a rank together: two for a sixteenth of its rows.
constexpr int64_t kPartsOfStream = 32;

}  // namespace

int64_t RowChunk::sent_rows() const { return sum(sent); }
int64_t RowChunk::received_rows() const { return sum(received); }
int64_t RowChunk::rows() const { return sum(rows_per_expert); }

void Arrival::spread() {
  if (const auto spread = std::exchange(spread_, {})) rows_ = spread();
}

void Arrival::wait() {
  sent_.wait();
  spread();
  gathered_.wait();
}

at::Tensor Arrival::take(at::Tensor place) {
  wait();
  const at::Tensor rows = std::exchange(rows_, at::Tensor());
  if (!place.defined()) return arrival_N_.defined() ? rows.index_select(0, arrival_N_) : rows;
  return arrival_N_.defined() ? at::index_select_out(place, rows, 0, arrival_N_) : place.copy_(rows);
}

void Departure::advance() {
  if (!converting_) return;
  converting_ = false;
  reduced_.wait();
  send_back(part_.to(wire_rows_.scalar_type()), {});
}

void Departure::send_back(const at::Tensor& part, const After& after) {
  if (expert_->size() == 1) {
    wire_rows_.copy_(part);
  } else {
    returned_ = expert_->all_to_all(wire_rows_, part, sent_, received_, after);
  }
}

void Departure::wait() {
  advance();
  reduced_.wait();
  returned_.wait();
}

ExpertExchange::ExpertExchange(const ExpertGroup& group, const ChoiceOrder& order)
    : group_(group), device_(order.rows_E().device()) {
  const Mesh& mesh = *group.mesh;
  rows_BE_ = exchange_counts(mesh.experts(), order.rows_E());
  sorted_ = order.permutation(rows_BE_[static_cast<size_t>(mesh.experts().rank())]);
  rows_ = receive_rows_ = sorted_.rows();
  rows_E_.assign(sorted_.rows_per_expert.size(), 0);
  for (const Rows& rows : rows_BE_) std::ranges::transform(rows_E_, rows, rows_E_.begin(), std::plus<>());
  for (int64_t x = 0; x < mesh.shape().expert; ++x) {
    const auto first = rows_E_.begin() + group.map.first(x);
    rows_of_.push_back(std::accumulate(first, first + group.map.count(x), int64_t{0}));
  }
  for (int64_t x = 0; x < mesh.shape().expert; ++x) own_blocks_.push_back(own_blocks(x));
  if (alone()) return;
  const double share = static_cast<double>(sum(rows_of_)) / static_cast<double>(mesh.shape().expert);
  receive_rows_ = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(mesh.config().receive_bound * share)));
  const int64_t most = *std::ranges::max_element(rows_of_);
  passes_ = std::max<int64_t>(1, (most + receive_rows_ - 1) / receive_rows_);
}

/// An expert's rows lie in so many parts, where a rank of the expert axis has `experts` of them.
int64_t ExpertExchange::parts_of(int64_t experts) {
  return (kPartsOfStream + experts - 1) / std::max<int64_t>(1, experts);
}

/// Once for all cuts: between this rank's blocks lie those of all others, which only their sums concern.
std::vector<ExpertExchange::OwnBlock> ExpertExchange::own_blocks(int64_t x) const {
  const auto own = static_cast<size_t>(group_.mesh->experts().rank());
  const int64_t first = group_.map.first(x), count = group_.map.count(x), parts = parts_of(count);
  const auto first_row = sorted_.rows_per_expert.begin();
  int64_t place = 0, sorted = std::accumulate(first_row, first_row + first, int64_t{0});
  std::vector<OwnBlock> blocks;
  for (int64_t e = first; e < first + count; ++e) {
    const auto expert = static_cast<size_t>(e);
    const int64_t rows = rows_BE_[own][expert];
    int64_t begin = place;
    for (int64_t part = 0; part < parts && rows > 0; ++part) {
      for (size_t b = 0; b < rows_BE_.size(); ++b) {
        const EvenPart of_source = even_part(rows_BE_[b][expert], part, parts);
        if (b == own && of_source.count > 0) blocks.push_back({begin, sorted + of_source.begin, of_source.count});
        begin += of_source.count;
      }
    }
    place += rows_E_[expert];
    sorted += rows;
  }
  return blocks;
}

/// The rows bound for rank x of the expert axis lie one after another in a stream: sorted by expert, then by part, then
/// by the rank they come from. Calls action(source, expert, first, rows) for each block of it, cut to the rank's
/// window; first: of the source's rows for this expert.
template <class Action>
void ExpertExchange::for_each_block(int64_t x, const Window& window, Action&& action) const {
  const int64_t first = group_.map.first(x), count = group_.map.count(x);
  const int64_t begin = window.begin[static_cast<size_t>(x)], end = window.end[static_cast<size_t>(x)];
  const int64_t parts = parts_of(count);
  int64_t place = 0;
  for (int64_t e = first; e < first + count; ++e) {
    const auto expert = static_cast<size_t>(e);
    if (place + rows_E_[expert] <= begin || place >= end) {
      place += rows_E_[expert];
      continue;
    }
    for (int64_t part = 0; part < parts; ++part) {
      for (size_t b = 0; b < rows_BE_.size(); ++b) {
        const auto [of_source, rows] = even_part(rows_BE_[b][expert], part, parts);
        const int64_t from = std::max(begin, place), to = std::min(end, place + rows);
        if (to > from) action(b, expert, of_source + from - place, to - from);
        place += rows;
      }
    }
  }
}

ExpertExchange::Window ExpertExchange::window(int64_t pass, int64_t chunk, int64_t chunks) const {
  Window window;
  for (const int64_t rows : rows_of_) {
    const int64_t begin = std::min(rows, pass * receive_rows_), end = std::min(rows, begin + receive_rows_);
    const auto [first, count] = even_part(end - begin, chunk, chunks);
    window.begin.push_back(begin + first);
    window.end.push_back(begin + first + count);
  }
  return window;
}

RowChunks ExpertExchange::cut(int64_t chunks) const {
  if (alone()) chunks = 1;
  RowChunks cut;
  Rows wire;
  for (int64_t pass = 0; pass < passes_; ++pass) {
    RowPass& all = cut.passes.emplace_back();
    for (int64_t c = 0; c < chunks; ++c) {
      const auto begin = static_cast<int64_t>(wire.size());
      const int64_t first_row = c == 0 ? 0 : all.chunks.back().first_row + all.chunks.back().rows();
      RowChunk& chunk = all.chunks.emplace_back(make_chunk(window(pass, c, chunks), wire));
      chunk.begin = begin;
      chunk.number = pass * chunks + c;
      chunk.first_row = first_row;
      if (c == 0) all.rows_per_expert.assign(chunk.rows_per_expert.size(), 0);
      for (size_t e = 0; e < chunk.rows_per_expert.size(); ++e) all.rows_per_expert[e] += chunk.rows_per_expert[e];
    }
  }
  if (!std::is_sorted(wire.begin(), wire.end())) cut.wire_R = send(at::tensor(wire, at::kLong), device_);
  if (sends_copies_once()) cut.by_host = by_host(cut, chunks);
  return cut;
}

std::shared_ptr<const HostExchange> ExpertExchange::by_host(const RowChunks& cut, int64_t chunks) const {
  const Mesh& mesh = *group_.mesh;
  const auto ranks = static_cast<size_t>(mesh.shape().expert), parts = static_cast<size_t>(mesh.shape().expert_tensor);
  const auto part = static_cast<size_t>(mesh.place().expert_tensor);
  std::vector<RowsBetween> all;
  for (int64_t pass = 0; pass < passes_; ++pass) {
    for (const RowChunk& chunk : cut.passes[static_cast<size_t>(pass)].chunks) {
      RowsBetween& between = all.emplace_back();
      int64_t begin = chunk.begin;
      for (const int64_t rows : chunk.sent) between.begin_X.push_back(std::exchange(begin, begin + rows));
      const Window window = this->window(pass, chunk.number - pass * chunks, chunks);
      between.rows_SX.assign(ranks, Rows(ranks, 0));
      for (size_t x = 0; x < ranks; ++x) {
        const auto rank = static_cast<int64_t>(x);
        for_each_block(rank, window, [&](size_t b, size_t, int64_t, int64_t n) {
          if (b % parts == part) between.rows_SX[b / parts][x] += n;
        });
      }
    }
  }
  const at::Tensor token_R = cut.wire_R.defined() ? sorted_.token_R.index_select(0, cut.wire_R) : sorted_.token_R;
  return std::make_shared<const HostExchange>(group_.mesh, all, token_R);
}

/// Adds this rank's rows of the chunk to `wire`.
RowChunk ExpertExchange::make_chunk(const Window& window, Rows& wire) const {
  RowChunk chunk;
  for (size_t x = 0; x < own_blocks_.size(); ++x) {
    const size_t before = wire.size();
    for (const OwnBlock& block : own_blocks_[x]) {
      const int64_t from = std::max(window.begin[x], block.place),
                    to = std::min(window.end[x], block.place + block.rows);
      for (int64_t i = from; i < to; ++i) wire.push_back(block.first + i - block.place);
    }
    chunk.sent.push_back(static_cast<int64_t>(wire.size() - before));
  }
  set_arrival(chunk, window);
  return chunk;
}

/// Rows arrive by rank of the expert_tensor axis, then by rank of the expert axis, then by expert.
void ExpertExchange::set_arrival(RowChunk& chunk, const Window& window) const {
  const Mesh& mesh = *group_.mesh;
  const auto parts = static_cast<size_t>(mesh.shape().expert_tensor),
             experts = static_cast<size_t>(mesh.shape().expert);
  const int64_t first = group_.map.first(mesh.place().expert), count = group_.map.count(mesh.place().expert);
  const auto for_each = [&](auto&& action) {
    for_each_block(mesh.place().expert, window, [&](size_t b, size_t e, int64_t from, int64_t n) {
      action(b, e - static_cast<size_t>(first), from, n);
    });
  };
  std::vector<Rows> rows_BE(rows_BE_.size(), Rows(static_cast<size_t>(count), 0)), first_BE = rows_BE;
  for_each([&](size_t b, size_t e, int64_t from, int64_t n) {
    if (rows_BE[b][e] == 0) first_BE[b][e] = from;
    rows_BE[b][e] += n;
  });
  chunk.received.assign(experts, 0);
  chunk.gathered.assign(parts, 0);
  chunk.rows_per_expert.assign(static_cast<size_t>(count), 0);
  std::vector<Rows> place_BE = rows_BE;
  int64_t place = 0;
  for (size_t t = 0; t < parts; ++t) {
    for (size_t x = 0; x < experts; ++x) {
      const size_t b = x * parts + t;
      const int64_t rows = sum(rows_BE[b]);
      chunk.gathered[t] += rows;
      if (t == static_cast<size_t>(mesh.place().expert_tensor)) chunk.received[x] = rows;
      for (size_t e = 0; e < rows_BE[b].size(); ++e) {
        place_BE[b][e] = std::exchange(place, place + rows_BE[b][e]);
        chunk.rows_per_expert[e] += rows_BE[b][e];
      }
    }
  }
  Rows arrival;
  for_each([&](size_t b, size_t e, int64_t from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) arrival.push_back(place_BE[b][e] + from - first_BE[b][e] + i);
  });
  if (std::is_sorted(arrival.begin(), arrival.end())) return;
  const at::Tensor arrival_N = at::tensor(arrival, at::kLong);
  chunk.sorted_N =
      send(at::empty_like(arrival_N).scatter_(0, arrival_N, at::arange(arrival_N.numel(), at::kLong)), device_);
  chunk.arrival_N = send(arrival_N, device_);
}

/// To all ranks of the expert_tensor axis; `rows` themselves where there is one.
Work ExpertExchange::gather(const at::Tensor& rows, const RowChunk& chunk, const After& after, at::Tensor& all) const {
  all = rows;
  if (group_.mesh->shape().expert_tensor == 1) return {};
  all = at::empty({sum(chunk.gathered), rows.size(1)}, rows.options());
  return group_.mesh->expert_tensor().all_gather_rows(all, rows, chunk.gathered, after);
}

Arrival ExpertExchange::dispatch(const at::Tensor& wire_RD, const RowChunks& cut, const RowChunk& chunk) const {
  if (cut.by_host == nullptr) return dispatch_distinct(wire_RD, chunk);
  Arrival arrival;
  arrival.arrival_N_ = chunk.arrival_N;
  at::Tensor crossed;
  arrival.sent_ = cut.by_host->cross(wire_RD, chunk.number, crossed);
  arrival.spread_ = [this, wire_RD, crossed, &cut, &chunk] {
    at::Tensor all;
    gather(cut.by_host->spread(wire_RD, crossed, chunk.number), chunk, {}, all).wait();
    return all;
  };
  return arrival;
}

Arrival ExpertExchange::dispatch_distinct(const at::Tensor& wire_RD, const RowChunk& chunk) const {
  const Mesh& mesh = *group_.mesh;
  Arrival arrival;
  arrival.arrival_N_ = chunk.arrival_N;
  at::Tensor rows = wire_RD.narrow(0, chunk.begin, chunk.sent_rows());
  if (mesh.shape().expert > 1) {
    const at::Tensor received = at::empty({sum(chunk.received), wire_RD.size(1)}, wire_RD.options());
    arrival.sent_ = mesh.expert().all_to_all(received, rows, chunk.received, chunk.sent);
    rows = received;
  }
  arrival.gathered_ = gather(rows, chunk, arrival.sent_.state(), arrival.rows_);
  return arrival;
}

Departure ExpertExchange::combine(const at::Tensor& out_ND, const RowChunk& chunk, at::Tensor& wire_RD) const {
  const Mesh& mesh = *group_.mesh;
  Departure departure;
  if (alone()) {
    wire_RD = out_ND;
    return departure;
  }
  if (!wire_RD.defined()) wire_RD = at::empty({rows_, out_ND.size(1)}, out_ND.options());
  departure.expert_ = &mesh.expert();
  departure.sent_ = chunk.sent;
  departure.received_ = chunk.received;
  departure.wire_rows_ = wire_RD.narrow(0, chunk.begin, chunk.sent_rows());
  const at::Tensor rows = chunk.sorted_N.defined() ? out_ND.index_select(0, chunk.sorted_N) : out_ND.contiguous();
  if (mesh.shape().expert_tensor == 1) {
    departure.send_back(rows, {});
    return departure;
  }
  const at::Tensor summands = to_summable(rows);
  const int64_t own = chunk.gathered[static_cast<size_t>(mesh.place().expert_tensor)];
  departure.part_ = at::empty({own, rows.size(1)}, summands.options());
  departure.reduced_ = mesh.expert_tensor().reduce_scatter_rows(departure.part_, summands, chunk.gathered);
  if (mesh.shape().expert > 1 && summands.scalar_type() == rows.scalar_type()) {
    departure.send_back(departure.part_, departure.reduced_.state());
  } else {
    departure.converting_ = true;
  }
  return departure;
}

}  // namespace parallel
