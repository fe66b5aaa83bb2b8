// defines: Work, the completion of an asynchronous operation
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "parallel/base/moment.h"

namespace parallel {

struct WorkSpan {
  Moment begin, end;
};

/// What a communicator knows of one operation under way.
class WorkState {
 public:
  virtual ~WorkState() = default;
  /// CPU tensors: blocks until the operation is complete. CUDA tensors: the current stream waits, the host goes on.
  virtual void wait() = 0;
  /// Whether wait() would come back at once. Never blocks.
  virtual bool done() = 0;
  /// When it was under way, where that is known. @pre waited for
  virtual std::optional<WorkSpan> span() { return std::nullopt; }
};

/// Holds its tensors until waited for. Dropping an unwaited Work waits: buffers never die under an operation.
class Work {
 public:
  Work() = default;
  Work(std::shared_ptr<WorkState> state, std::vector<at::Tensor> tensors)
      : state_(std::move(state)), tensors_(std::move(tensors)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&& other) {
    if (this != &other) {
      wait();
      state_ = std::move(other.state_);
      tensors_ = std::move(other.tensors_);
      waited_ = other.waited_;
    }
    return *this;
  }
  ~Work() {
    try {
      wait();
    } catch (...) {
      // Whoever cares for the failure waits; a destructor has nobody to tell.
    }
  }

  /// True too where there is nothing to wait for.
  bool done() const { return !state_ || state_->done(); }

  /// A second call does nothing. Rethrows the operation's failure.
  void wait() {
    if (waited_ || !state_) return;
    waited_ = true;
    state_->wait();
    tensors_.clear();
  }

  /// What another operation may be told to come after, and what knows the span; null where nothing was issued.
  const std::shared_ptr<WorkState>& state() const { return state_; }

 private:
  std::shared_ptr<WorkState> state_;
  std::vector<at::Tensor> tensors_;
  bool waited_ = false;
};

}  // namespace parallel
