// defines: ChunkTrace, ComputeSpan: an expert layer's tasks noted as they end
#pragma once
#include <chrono>

#include "parallel/dispatch/expert_exchange.h"
#include "parallel/schedule/trace.h"

namespace parallel {

/// Of one layer's forward or backward. Exchanges have the span of their communicator, where it knows it (MPI).
class ChunkTrace {
 public:
  /// `trace` null: nothing is noted.
  ChunkTrace(Trace* trace, int64_t layer, bool backward) : trace_(trace), layer_(layer), backward_(backward) {}

  void arrived(const Arrival& arrival, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(arrival.sent(), TracedKind::kDispatch, number, chunk.sent_rows() * row_bytes);
    exchanged(arrival.gathered(), TracedKind::kGather, number, chunk.received_rows() * row_bytes);
  }
  void returned(const Departure& departure, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(departure.reduced(), TracedKind::kScatter, number, chunk.rows() * row_bytes);
    exchanged(departure.returned(), TracedKind::kCombine, number, chunk.received_rows() * row_bytes);
  }
  void computed(TracedKind kind, const RowChunk& chunk, int64_t number, std::chrono::steady_clock::time_point begin) {
    if (trace_ == nullptr) return;
    trace_->push_back({kind, backward_, layer_, number, chunk.rows(), begin, std::chrono::steady_clock::now()});
  }

 private:
  void exchanged(const Work& work, TracedKind kind, int64_t number, int64_t bytes) {
    if (trace_ == nullptr || !work.state()) return;
    if (const auto span = work.state()->span()) {
      trace_->push_back({kind, backward_, layer_, number, bytes, span->begin, span->end});
    }
  }

  Trace* trace_;
  int64_t layer_;
  bool backward_;
};

/// Notes the scope it lives in.
class ComputeSpan {
 public:
  ComputeSpan(ChunkTrace& trace, TracedKind kind, const RowChunk& chunk, int64_t number)
      : trace_(trace), kind_(kind), chunk_(chunk), number_(number) {}
  ~ComputeSpan() { trace_.computed(kind_, chunk_, number_, begin_); }
  ComputeSpan(const ComputeSpan&) = delete;
  ComputeSpan& operator=(const ComputeSpan&) = delete;

 private:
  ChunkTrace& trace_;
  TracedKind kind_;
  const RowChunk& chunk_;
  int64_t number_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace parallel
