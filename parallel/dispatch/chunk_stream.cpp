#include "parallel/dispatch/chunk_stream.h"

#include <ATen/ATen.h>

namespace parallel {

int64_t rows_in(const RowPass& pass) { return pass.chunks.back().first_row + pass.chunks.back().rows(); }

Arrivals::Arrivals(const Outgoing& outgoing, const RowChunks& cut, const RowPass& pass, ChunkTrace& trace, bool overlap)
    : pass_(pass), trace_(trace), options_(outgoing.wire_RD.options()), width_(outgoing.wire_RD.size(1)) {
  const ExpertExchange& exchange = outgoing.exchange;
  for (const RowChunk& chunk : pass.chunks) {
    arrivals_.push_back(outgoing.row == RowOf::kToken ? exchange.dispatch(outgoing.wire_RD, cut, chunk)
                                                      : exchange.dispatch_distinct(outgoing.wire_RD, chunk));
    if (outgoing.weight_R1.defined()) weights_.push_back(exchange.dispatch_distinct(outgoing.weight_R1, chunk));
    if (!overlap) arrivals_.back().wait();
  }
}

at::Tensor Arrivals::take(size_t c, at::Tensor& all_ND) {
  const RowChunk& chunk = pass_.chunks[c];
  at::Tensor rows;
  if (pass_.chunks.size() == 1) {
    rows = all_ND = arrivals_[c].take();
  } else {
    if (!all_ND.defined()) all_ND = at::empty({rows_in(pass_), width_}, options_);
    rows = arrivals_[c].take(all_ND.narrow(0, chunk.first_row, chunk.rows()));
  }
  if (!weights_.empty()) rows.mul_(weights_[c].take());
  trace_.arrived(arrivals_[c], chunk, static_cast<int64_t>(c), row_bytes(rows));
  return rows;
}

void Departures::send(size_t c, const at::Tensor& out_ND, at::Tensor& wire_RD) {
  if (!departures_.empty()) departures_.back().advance();
  row_bytes_ = row_bytes(out_ND);
  departures_.push_back(exchange_.combine(out_ND, pass_.chunks[c], wire_RD));
  if (!overlap_) departures_.back().wait();
}

void Departures::wait() {
  for (size_t c = 0; c < departures_.size(); ++c) {
    departures_[c].wait();
    trace_.returned(departures_[c], pass_.chunks[c], static_cast<int64_t>(c), row_bytes_);
  }
}

}  // namespace parallel
