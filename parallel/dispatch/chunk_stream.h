// The chunks of one pass under way, raw (outside autograd).
// defines: Outgoing, Arrivals, Departures, rows_in
#pragma once
#include <vector>

#include "parallel/dispatch/chunk_trace.h"
#include "parallel/dispatch/expert_exchange.h"

namespace parallel {

// R rows of this rank, N rows at this rank's experts, D width

/// Rows of the pass that this rank's experts get.
int64_t rows_in(const RowPass& pass);

/// What is sent to the experts.
struct Outgoing {
  const ExpertExchange& exchange;
  at::Tensor wire_RD;
  RowOf row = RowOf::kToken;  // a token's: those of one token are equal
  at::Tensor weight_R1 = {};  // a factor of each row, multiplied in on arrival; undefined: none
};

/// All chunks of one pass on their way; each is taken, in turn, into one tensor of all of the pass' rows.
class Arrivals {
 public:
  Arrivals(const Outgoing& outgoing, const RowChunks& cut, const RowPass& pass, ChunkTrace& trace, bool overlap);

  /// [N of the chunk, D]; all_ND: [N, D], undefined before the first.
  at::Tensor take(size_t c, at::Tensor& all_ND);

 private:
  const RowPass& pass_;
  ChunkTrace& trace_;
  at::TensorOptions options_;
  int64_t width_;
  std::vector<Arrival> arrivals_, weights_;
};

/// The chunks of one pass on their way back.
class Departures {
 public:
  Departures(const ExpertExchange& exchange, const RowPass& pass, ChunkTrace& trace, bool overlap)
      : exchange_(exchange), pass_(pass), trace_(trace), overlap_(overlap) {}

  /// wire_RD: [R, D], made where it is undefined.
  void send(size_t c, const at::Tensor& out_ND, at::Tensor& wire_RD);
  void wait();

 private:
  const ExpertExchange& exchange_;
  const RowPass& pass_;
  ChunkTrace& trace_;
  bool overlap_;
  int64_t row_bytes_ = 0;
  std::vector<Departure> departures_;
};

}  // namespace parallel
