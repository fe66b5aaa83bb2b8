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
  ChunkTrace(Trace* trace, int64_t layer, Direction direction) : trace_(trace), layer_(layer), direction_(direction) {}

  void arrived(const Arrival& arrival, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(arrival.sent(), TaskKind::kDispatch, number, chunk.sent_rows() * row_bytes);
    exchanged(arrival.gathered(), TaskKind::kAllGather, number, chunk.received_rows() * row_bytes);
  }
  void returned(const Departure& departure, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(departure.reduced(), TaskKind::kReduceScatter, number, chunk.rows() * row_bytes);
    exchanged(departure.returned(), TaskKind::kCombine, number, chunk.received_rows() * row_bytes);
  }
  void computed(TaskKind kind, const RowChunk& chunk, int64_t number, std::chrono::steady_clock::time_point begin) {
    if (trace_ == nullptr) return;
    trace_->tasks.push_back(
        {kind, direction_, layer_, number, 0, chunk.rows(), begin, std::chrono::steady_clock::now()});
  }

 private:
  void exchanged(const Work& work, TaskKind kind, int64_t number, int64_t bytes) {
    if (trace_ == nullptr || !work.state()) return;
    if (const auto span = work.state()->span()) {
      trace_->tasks.push_back({kind, direction_, layer_, number, bytes, 0, span->begin, span->end});
    }
  }

  Trace* trace_;
  int64_t layer_;
  Direction direction_;
};

/// Notes the scope it lives in.
class ComputeSpan {
 public:
  ComputeSpan(ChunkTrace& trace, TaskKind kind, const RowChunk& chunk, int64_t number)
      : trace_(trace), kind_(kind), chunk_(chunk), number_(number) {}
  ~ComputeSpan() { trace_.computed(kind_, chunk_, number_, begin_); }
  ComputeSpan(const ComputeSpan&) = delete;
  ComputeSpan& operator=(const ComputeSpan&) = delete;

 private:
  ChunkTrace& trace_;
  TaskKind kind_;
  const RowChunk& chunk_;
  int64_t number_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace parallel
