// defines: DelayedLinks, DelayingCommunicator: passes every operation on and ends it when a modelled link would
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/schedule/costs.h"

/// Of one rank: the links inside and between hosts, each serving one operation at a time, for alpha + beta x the bytes
/// that the rank hands in for others. Which is served next is as Lane says: those that do not yield in the order of
/// posting, one that yields when all posted before it have ended. Takes no processor time.
class DelayedLinks {
 public:
  using Clock = std::chrono::steady_clock;

  explicit DelayedLinks(parallel::Line line) : line_(line) {}

  struct Span {
    Clock::time_point begin, end;
  };
  struct Operation {
    parallel::Lane lane;
    std::shared_ptr<const Operation> after;
    Clock::time_point posted;
    Clock::duration length{};
    std::optional<Span> span;  // where it has begun
  };

  std::shared_ptr<const Operation> post(parallel::Lane lane, std::shared_ptr<const Operation> after, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    auto operation = std::make_shared<Operation>();
    operation->lane = lane;
    operation->after = std::move(after);
    operation->posted = Clock::now();
    operation->length = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(line_.seconds(static_cast<double>(bytes))));
    waiting_.push_back(operation);
    return operation;
  }

  /// Its end, where that lies before `now`.
  std::optional<Span> ended(const Operation& operation, Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    while (begin_next(now)) {
    }
    return operation.span && operation.span->end <= now ? operation.span : std::nullopt;
  }

 private:
  /// Begins the operation that can begin first, if that is before `now`: what is posted later begins later.
  bool begin_next(Clock::time_point now) {
    size_t next = waiting_.size();
    Clock::time_point first = now;
    for (size_t i = 0; i < waiting_.size(); ++i) {
      const std::optional<Clock::time_point> begin = begin_of(i);
      if (begin && *begin < first) next = i, first = *begin;
    }
    if (next == waiting_.size()) return false;
    Operation& operation = *waiting_[next];
    operation.span = {first, first + operation.length};
    free(operation) = std::max(free(operation), operation.span->end);
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(next));
    return true;
  }

  /// Null where another of its link goes first, or what it comes after has not begun.
  std::optional<Clock::time_point> begin_of(size_t i) {
    const Operation& operation = *waiting_[i];
    for (size_t before = 0; before < i; ++before) {
      const bool first = operation.lane.yields || !waiting_[before]->lane.yields;
      if (waiting_[before]->lane.link == operation.lane.link && first) return std::nullopt;
    }
    Clock::time_point begin = std::max(operation.posted, free(operation));
    if (!operation.after) return begin;
    if (!operation.after->span) return std::nullopt;
    return std::max(begin, operation.after->span->end);
  }

  Clock::time_point& free(const Operation& operation) { return free_[static_cast<size_t>(operation.lane.link)]; }

  const parallel::Line line_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Operation>> waiting_;  // in the order of posting
  Clock::time_point free_[3]{};
};

/// Operations that have taken a lane end when the other ranks have come and the modelled link has served them.
class DelayingCommunicator : public parallel::Communicator {
 public:
  DelayingCommunicator(std::shared_ptr<parallel::Communicator> inner, std::shared_ptr<DelayedLinks> links)
      : inner_(std::move(inner)), links_(std::move(links)) {}

  int64_t rank() const override { return inner_->rank(); }
  int64_t size() const override { return inner_->size(); }
  parallel::Work all_reduce(at::Tensor tensor, parallel::ReduceOp op) override {
    const auto bytes = static_cast<int64_t>(tensor.nbytes());
    return delayed(inner_->all_reduce(std::move(tensor), op), bytes, {});
  }
  parallel::Work all_gather(at::Tensor gathered, at::Tensor part) override {
    const auto bytes = static_cast<int64_t>(part.nbytes());
    return delayed(inner_->all_gather(std::move(gathered), std::move(part)), bytes, {});
  }
  parallel::Work all_to_all(at::Tensor received, at::Tensor sent, const parallel::RowCounts& received_rows,
                            const parallel::RowCounts& sent_rows, const parallel::After& after) override {
    const int64_t bytes = parallel::bytes_for_others(sent, sent_rows, rank());
    return delayed(inner_->all_to_all(std::move(received), std::move(sent), received_rows, sent_rows, after), bytes,
                   after);
  }
  parallel::Work all_gather_rows(at::Tensor gathered, at::Tensor part, const parallel::RowCounts& rows,
                                 const parallel::After& after) override {
    const auto bytes = static_cast<int64_t>(part.nbytes());
    return delayed(inner_->all_gather_rows(std::move(gathered), std::move(part), rows, after), bytes, after);
  }
  parallel::Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const parallel::RowCounts& rows) override {
    const int64_t bytes = parallel::bytes_for_others(whole, rows, rank());
    return delayed(inner_->reduce_scatter_rows(std::move(part), std::move(whole), rows), bytes, {});
  }
  void take_lane(parallel::Lane lane) override {
    lane_ = lane;
    inner_->take_lane(lane);
  }
  bool issues_as_called() const override { return inner_->issues_as_called(); }
  std::shared_ptr<parallel::Communicator> duplicate() override {
    return std::make_shared<DelayingCommunicator>(inner_->duplicate(), links_);
  }
  std::shared_ptr<parallel::Communicator> split(int64_t color, int64_t key) override {
    return std::make_shared<DelayingCommunicator>(inner_->split(color, key), links_);
  }

 private:
  class State : public parallel::WorkState {
   public:
    State(parallel::Work work, std::shared_ptr<DelayedLinks> links,
          std::shared_ptr<const DelayedLinks::Operation> operation)
        : work_(std::move(work)), links_(std::move(links)), operation_(std::move(operation)) {}

    void wait() override {
      work_.wait();
      while (!done()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    bool done() override { return work_.done() && links_->ended(*operation_, DelayedLinks::Clock::now()).has_value(); }
    std::optional<parallel::WorkSpan> span() override {
      const auto served = links_->ended(*operation_, DelayedLinks::Clock::now());
      if (!served) return std::nullopt;
      return parallel::WorkSpan{served->begin, served->end};
    }
    const std::shared_ptr<const DelayedLinks::Operation>& operation() const { return operation_; }

   private:
    parallel::Work work_;
    std::shared_ptr<DelayedLinks> links_;
    std::shared_ptr<const DelayedLinks::Operation> operation_;
  };

  parallel::Work delayed(parallel::Work work, int64_t bytes, const parallel::After& after) {
    if (lane_.link == parallel::Link::kNone) return work;
    const auto* before = dynamic_cast<const State*>(after.get());
    return {std::make_shared<State>(std::move(work), links_,
                                    links_->post(lane_, before == nullptr ? nullptr : before->operation(), bytes)),
            {}};
  }

  std::shared_ptr<parallel::Communicator> inner_;
  std::shared_ptr<DelayedLinks> links_;
  parallel::Lane lane_;
};
