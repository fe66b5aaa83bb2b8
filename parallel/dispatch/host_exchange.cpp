#include "parallel/dispatch/host_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace parallel {
namespace {

int64_t all_of(const RowCounts& rows) { return std::accumulate(rows.begin(), rows.end(), int64_t{0}); }

at::Tensor empty_rows(int64_t rows, const at::Tensor& like_RD) {
  return at::empty({rows, like_RD.size(1)}, like_RD.options());
}

}  // namespace

HostExchange::HostExchange(std::shared_ptr<const Mesh> mesh, const std::vector<RowsBetween>& chunks,
                           const at::Tensor& token_R)
    : mesh_(std::move(mesh)), own_(mesh_->place().expert) {
  check_internal(mesh_->dispatches_by_host(), "HostExchange: this mesh dispatches every row by itself");
  const std::vector<int64_t> hosts = mesh_->expert_hosts();
  std::vector<int64_t> names;
  for (const int64_t name : hosts) {
    const auto h = static_cast<size_t>(std::ranges::find(names, name) - names.begin());
    if (h == names.size()) {
      names.push_back(name);
      ranks_of_.emplace_back();
    }
    host_of_.push_back(h);
    place_of_.push_back(static_cast<int64_t>(ranks_of_[h].size()));
    ranks_of_[h].push_back(static_cast<int64_t>(place_of_.size()) - 1);
  }
  const at::Tensor token = token_R.to(at::kCPU).contiguous();
  std::vector<Table> sent(hosts.size());
  for (const RowsBetween& between : chunks) {
    plan_crossing(between, token.const_data_ptr<int64_t>(), ways_.emplace_back(), sent);
  }

  RowCounts sent_rows, received_rows(hosts.size(), 0);
  Table all;
  for (const Table& table : sent) {
    sent_rows.push_back(static_cast<int64_t>(table.size()));
    all.insert(all.end(), table.begin(), table.end());
  }
  for (size_t s = 0; s < hosts.size(); ++s) {
    if (!takes_from(own_, static_cast<int64_t>(s))) continue;
    for (const RowsBetween& between : chunks) {
      for (const int64_t x : ranks_of_[host_of_[static_cast<size_t>(own_)]]) {
        received_rows[s] += between.rows_SX[s][static_cast<size_t>(x)];
      }
    }
  }
  const auto options = at::TensorOptions(at::kInt).device(token_R.device());
  at::Tensor received = at::empty({all_of(received_rows)}, options);
  mesh_->expert()
      .all_to_all(received, send(at::tensor(all, at::kInt), options.device()), received_rows, sent_rows)
      .wait();
  received = received.to(at::kCPU);

  std::vector<const int32_t*> next;  // by rank that sends; its chunks lie one after another
  const int32_t* from = received.const_data_ptr<int32_t>();
  for (const int64_t rows : received_rows) {
    next.push_back(from);
    from += rows;
  }
  for (size_t c = 0; c < chunks.size(); ++c) {
    plan_spread(chunks[c], next, ways_[c]);
    for (size_t s = 0; s < next.size(); ++s) {
      if (!takes_from(own_, static_cast<int64_t>(s))) continue;
      for (const int64_t x : ranks_of_[host_of_[static_cast<size_t>(own_)]]) {
        next[s] += chunks[c].rows_SX[s][static_cast<size_t>(x)];
      }
    }
    ways_[c].crossing = send(ways_[c].crossing, token_R.device());
    ways_[c].forwarded = send(ways_[c].forwarded, token_R.device());
  }
}

int64_t HostExchange::taker(int64_t s, size_t h) const {
  const auto place = static_cast<size_t>(place_of_[static_cast<size_t>(s)]);
  return ranks_of_[h][place % ranks_of_[h].size()];
}

bool HostExchange::takes_from(int64_t x, int64_t s) const {
  const size_t host = host_of_[static_cast<size_t>(x)];
  return host_of_[static_cast<size_t>(s)] != host && taker(s, host) == x;
}

void HostExchange::plan_crossing(const RowsBetween& between, const int64_t* token_R, Way& way,
                                 std::vector<Table>& tables) const {
  const RowCounts& rows_X = between.rows_SX[static_cast<size_t>(own_)];
  way.crossing_sent.assign(rows_X.size(), 0);
  std::vector<int64_t> crossing, number;  // number: of a token among those that cross to one host; -1: none yet
  for (size_t x = 0; x < rows_X.size(); ++x) {
    if (!takes_from(static_cast<int64_t>(x), own_)) continue;
    const size_t before = crossing.size();
    std::ranges::fill(number, -1);
    for (const int64_t mate : ranks_of_[host_of_[x]]) {
      const int64_t begin = between.begin_X[static_cast<size_t>(mate)];
      for (int64_t row = begin; row < begin + rows_X[static_cast<size_t>(mate)]; ++row) {
        const auto token = static_cast<size_t>(token_R[row]);
        if (token >= number.size()) number.resize(token + 1, -1);
        if (number[token] < 0) {
          number[token] = static_cast<int64_t>(crossing.size() - before);
          crossing.push_back(row);
        }
        tables[x].push_back(static_cast<int32_t>(number[token]));
      }
    }
    way.crossing_sent[x] = static_cast<int64_t>(crossing.size() - before);
  }
  way.crossing = at::tensor(crossing, at::kLong);
}

void HostExchange::plan_spread(const RowsBetween& between, const std::vector<const int32_t*>& tables, Way& way) const {
  const RowCounts& mates = ranks_of_[host_of_[static_cast<size_t>(own_)]];
  const size_t senders = tables.size();
  way.crossing_received.assign(senders, 0);
  std::vector<RowCounts> forwarded(mates.size());  // by mate; senders one after another
  int64_t base = 0;
  for (size_t s = 0; s < senders; ++s) {
    if (!takes_from(own_, static_cast<int64_t>(s))) continue;
    const int32_t* entry = tables[s];
    int64_t tokens = 0;
    for (size_t m = 0; m < mates.size(); ++m) {
      for (int64_t i = 0; i < between.rows_SX[s][static_cast<size_t>(mates[m])]; ++i, ++entry) {
        forwarded[m].push_back(base + *entry);
        tokens = std::max<int64_t>(tokens, *entry + 1);  // they were numbered as they came
      }
    }
    way.crossing_received[s] = tokens;
    base += tokens;
  }
  RowCounts all;
  way.spread_received.assign(mates.size(), 0);
  way.arrived_S.resize(senders);
  int64_t place = 0;
  for (size_t m = 0; m < mates.size(); ++m) {
    const auto mate = static_cast<size_t>(mates[m]);
    way.own.push_back({between.begin_X[mate], between.rows_SX[static_cast<size_t>(own_)][mate]});
    way.forwarded_rows.push_back(static_cast<int64_t>(forwarded[m].size()));
    way.spread_sent.push_back(way.own.back().rows + way.forwarded_rows.back());
    all.insert(all.end(), forwarded[m].begin(), forwarded[m].end());
    const auto arrive = [&](size_t s) {
      const int64_t rows = between.rows_SX[s][static_cast<size_t>(own_)];
      way.arrived_S[s] = {place, rows};
      way.spread_received[m] += rows;
      place += rows;
    };
    arrive(mate);
    for (size_t s = 0; s < senders; ++s) {
      if (takes_from(mates[m], static_cast<int64_t>(s))) arrive(s);
    }
  }
  way.forwarded = at::tensor(all, at::kLong);
}

Work HostExchange::cross(const at::Tensor& rows_RD, int64_t chunk, at::Tensor& crossed) const {
  const Way& way = ways_[static_cast<size_t>(chunk)];
  crossed = empty_rows(all_of(way.crossing_received), rows_RD);
  return mesh_->expert().all_to_all(crossed, rows_RD.index_select(0, way.crossing), way.crossing_received,
                                    way.crossing_sent);
}

at::Tensor HostExchange::spread(const at::Tensor& rows_RD, const at::Tensor& crossed, int64_t chunk) const {
  const Way& way = ways_[static_cast<size_t>(chunk)];
  const at::Tensor forwarded = crossed.index_select(0, way.forwarded);
  std::vector<at::Tensor> parts;
  int64_t place = 0;
  for (size_t m = 0; m < way.own.size(); ++m) {
    parts.push_back(rows_RD.narrow(0, way.own[m].begin, way.own[m].rows));
    parts.push_back(forwarded.narrow(0, place, way.forwarded_rows[m]));
    place += way.forwarded_rows[m];
  }
  const at::Tensor spread = empty_rows(all_of(way.spread_received), rows_RD);
  mesh_->expert_inside().all_to_all(spread, at::cat(parts), way.spread_received, way.spread_sent).wait();

  parts.clear();
  for (const Block& block : way.arrived_S) parts.push_back(spread.narrow(0, block.begin, block.rows));
  return at::cat(parts);
}

int64_t HostExchange::crossing_rows(int64_t chunk) const {
  return all_of(ways_[static_cast<size_t>(chunk)].crossing_sent);
}

}  // namespace parallel
