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
  const at::Tensor all_BE = at::empty({group.size(), experts}, own_E.options());
  group.all_gather(all_BE, own_E).wait();
  const at::Tensor host = all_BE.to(at::kCPU);
  std::vector<Rows> rows;
  for (int64_t b = 0; b < group.size(); ++b) {
    const int64_t* from = host.const_data_ptr<int64_t>() + b * experts;
    rows.emplace_back(from, from + experts);
  }
  return rows;
}

}  // namespace

int64_t RowChunk::sent_rows() const { return sum(sent); }
int64_t RowChunk::received_rows() const { return sum(received); }
int64_t RowChunk::rows() const { return rows_per_expert.rows(); }

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
  if (!place.defined()) return arrival_N_.defined() ? rows_at(rows, arrival_N_) : rows;
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
    : group_(group), device_(order.device()) {
  const Mesh& mesh = *group.mesh;
  if (alone()) {
    sorted_ = order.permutation();
    rows_ = receive_rows_ = sorted_.rows();
    return;
  }
  streams_ = RowStreams(exchange_counts(mesh.experts(), order.rows_E()), group.map, mesh.experts().rank());
  sorted_ = order.permutation(streams_.own_rows());
  rows_ = sorted_.rows();
  int64_t all = 0, most = 0;
  for (int64_t x = 0; x < mesh.shape().expert; ++x) {
    all += streams_.rows(x);
    most = std::max(most, streams_.rows(x));
  }
  const double share = static_cast<double>(all) / static_cast<double>(mesh.shape().expert);
  receive_rows_ = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(mesh.config().receive_bound * share)));
  passes_ = std::max<int64_t>(1, (most + receive_rows_ - 1) / receive_rows_);
}

ExpertExchange::Window ExpertExchange::window(int64_t pass, int64_t chunk, int64_t chunks) const {
  Window window;
  for (int64_t x = 0; x < group_.mesh->shape().expert; ++x) {
    const int64_t rows = streams_.rows(x);
    const int64_t begin = std::min(rows, pass * receive_rows_), end = std::min(rows, begin + receive_rows_);
    const auto [first, count] = even_part(end - begin, chunk, chunks);
    window.begin.push_back(begin + first);
    window.end.push_back(begin + first + count);
  }
  return window;
}

RowChunks ExpertExchange::cut(int64_t chunks) const {
  if (alone()) return all_at_once();
  RowChunks cut;
  Rows wire;
  for (int64_t pass = 0; pass < passes_; ++pass) {
    RowPass& all = cut.passes.emplace_back();
    Rows rows_per_expert;
    for (int64_t c = 0; c < chunks; ++c) {
      const auto begin = static_cast<int64_t>(wire.size());
      const int64_t first_row = c == 0 ? 0 : all.chunks.back().first_row + all.chunks.back().rows();
      RowChunk& chunk = all.chunks.emplace_back(make_chunk(window(pass, c, chunks), wire));
      chunk.begin = begin;
      chunk.number = pass * chunks + c;
      chunk.first_row = first_row;
      const Rows& of_chunk = chunk.rows_per_expert.on_host();
      rows_per_expert.resize(of_chunk.size(), 0);
      std::ranges::transform(rows_per_expert, of_chunk, rows_per_expert.begin(), std::plus<>());
    }
    all.rows_per_expert = std::move(rows_per_expert);
  }
  if (!std::is_sorted(wire.begin(), wire.end())) cut.wire_R = send(at::tensor(wire, at::kLong), device_);
  if (sends_copies_once()) cut.by_host = by_host(cut, chunks);
  return cut;
}

RowChunks ExpertExchange::all_at_once() const {
  RowChunk all;
  all.sent = all.received = all.gathered = {rows_};
  all.rows_per_expert = sorted_.rows_per_expert;
  return {.passes = {{.chunks = {all}, .rows_per_expert = all.rows_per_expert}}, .wire_R = {}, .by_host = nullptr};
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
        for (const RowBlock& block : streams_.blocks(rank, window.begin[x], window.end[x])) {
          const auto b = static_cast<size_t>(block.source);
          if (b % parts == part) between.rows_SX[b / parts][x] += block.rows;
        }
      }
    }
  }
  const at::Tensor token_R = cut.wire_R.defined() ? sorted_.token_R.index_select(0, cut.wire_R) : sorted_.token_R;
  return std::make_shared<const HostExchange>(group_.mesh, all, token_R);
}

/// Adds this rank's rows of the chunk to `wire`.
RowChunk ExpertExchange::make_chunk(const Window& window, Rows& wire) const {
  RowChunk chunk;
  for (size_t x = 0; x < window.begin.size(); ++x) {
    const size_t before = wire.size();
    for (const RowBlock& block : streams_.own_blocks(static_cast<int64_t>(x), window.begin[x], window.end[x])) {
      const int64_t first = streams_.first_own_row(block.expert) + block.first;
      for (int64_t i = 0; i < block.rows; ++i) wire.push_back(first + i);
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
  const auto own = static_cast<size_t>(mesh.place().expert);
  const std::vector<RowBlock> blocks = streams_.blocks(mesh.place().expert, window.begin[own], window.end[own]);
  std::vector<Rows> rows_BE(static_cast<size_t>(streams_.sources()), Rows(static_cast<size_t>(count), 0)),
      first_BE = rows_BE;
  for (const RowBlock& block : blocks) {
    const auto b = static_cast<size_t>(block.source), e = static_cast<size_t>(block.expert - first);
    if (rows_BE[b][e] == 0) first_BE[b][e] = block.first;
    rows_BE[b][e] += block.rows;
  }
  chunk.received.assign(experts, 0);
  chunk.gathered.assign(parts, 0);
  Rows rows_per_expert(static_cast<size_t>(count), 0);
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
        rows_per_expert[e] += rows_BE[b][e];
      }
    }
  }
  chunk.rows_per_expert = std::move(rows_per_expert);
  Rows arrival;
  for (const RowBlock& block : blocks) {
    const auto b = static_cast<size_t>(block.source), e = static_cast<size_t>(block.expert - first);
    const int64_t place_of_first = place_BE[b][e] + block.first - first_BE[b][e];
    for (int64_t i = 0; i < block.rows; ++i) arrival.push_back(place_of_first + i);
  }
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
  const at::Tensor rows = chunk.sorted_N.defined() ? rows_at(out_ND, chunk.sorted_N) : out_ND.contiguous();
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
