// defines: ChunkTrace, ComputeSpan: an expert layer's tasks noted as they end
#pragma once
#include "parallel/dispatch/expert_exchange.h"
#include "parallel/phases/phase.h"
#include "parallel/schedule/trace.h"

namespace parallel {

/// Of one layer's forward or backward. Exchanges have the span of their communicator, where it knows it.
class ChunkTrace {
 public:
  /// `recorder` null: nothing is noted.
  ChunkTrace(TraceRecorder* recorder, int64_t layer, Direction direction)
      : recorder_(recorder), layer_(layer), direction_(direction) {}

  void arrived(const Arrival& arrival, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(arrival.sent(), TaskKind::kDispatch, number, chunk.sent_rows() * row_bytes);
    exchanged(arrival.gathered(), TaskKind::kAllGather, number, chunk.received_rows() * row_bytes);
  }
  void returned(const Departure& departure, const RowChunk& chunk, int64_t number, int64_t row_bytes) {
    exchanged(departure.reduced(), TaskKind::kReduceScatter, number, chunk.rows() * row_bytes);
    exchanged(departure.returned(), TaskKind::kCombine, number, chunk.received_rows() * row_bytes);
  }
  Moment now() const { return recorder_ == nullptr ? Moment() : recorder_->now(); }
  void computed(TaskKind kind, const RowChunk& chunk, int64_t number, const Moment& begin) {
    if (recorder_ == nullptr) return;
    recorder_->add({kind, direction_, layer_, number, /*bytes=*/0, chunk.rows()}, begin, now());
  }

 private:
  void exchanged(const Work& work, TaskKind kind, int64_t number, int64_t bytes) {
    if (recorder_ == nullptr || !work.state()) return;
    if (const auto span = work.state()->span()) {
      recorder_->add({kind, direction_, layer_, number, bytes}, span->begin, span->end);
    }
  }

  TraceRecorder* recorder_;
  int64_t layer_;
  Direction direction_;
};

/// Notes the scope it lives in.
class ComputeSpan {
 public:
  ComputeSpan(ChunkTrace& trace, TaskKind kind, const RowChunk& chunk, int64_t number)
      : trace_(trace), kind_(kind), chunk_(chunk), number_(number), begin_(trace.now()) {}
  ~ComputeSpan() { trace_.computed(kind_, chunk_, number_, begin_); }
  ComputeSpan(const ComputeSpan&) = delete;
  ComputeSpan& operator=(const ComputeSpan&) = delete;

 private:
  ChunkTrace& trace_;
  TaskKind kind_;
  const RowChunk& chunk_;
  int64_t number_;
  Moment begin_;
  Phase phase_{PhaseName::kExperts};
};

}  // namespace parallel
