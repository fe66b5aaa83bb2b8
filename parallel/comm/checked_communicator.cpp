#include "parallel/comm/checked_communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/comm/counting_communicator.h"

namespace parallel {

/// One call on its way from its caller to the group's thread and back.
struct CheckedCommunicator::Checked {
  CollectiveCall call;
  std::function<Work()> action;        // empty: the caller issues
  RowCounts sent_rows, received_rows;  // of an all_to_all, to be held against the other ranks'

  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr error;
  Work work;

  void finish(std::exception_ptr why) {
    action = nullptr;
    std::lock_guard lock(mutex);
    done = true;
    error = std::move(why);
    changed.notify_all();
  }
  bool is_done() {
    std::lock_guard lock(mutex);
    return done;
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
    if (error) std::rethrow_exception(error);
  }
};

class CheckedCommunicator::CheckedWork : public WorkState {
 public:
  explicit CheckedWork(std::shared_ptr<Checked> checked) : checked_(std::move(checked)) {}
  void wait() override {
    checked_->wait();
    checked_->work.wait();
  }
  bool done() override { return checked_->is_done() && checked_->work.done(); }
  std::optional<WorkSpan> span() override {
    return checked_->work.state() ? checked_->work.state()->span() : std::nullopt;
  }

 private:
  std::shared_ptr<Checked> checked_;
};

/// The thread of a group: takes calls in order, agrees on each over the control channel, issues it.
class CheckedCommunicator::Checker {
 public:
  Checker(Communicator& control, std::string purpose, int64_t few_ranks)
      : control_(control), purpose_(std::move(purpose)), one_message_(control.size() <= few_ranks) {
    thread_ = std::thread([this] { loop(); });
  }
  ~Checker() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  std::shared_ptr<Checked> post(CollectiveCall call, std::function<Work()> action, RowCounts sent_rows,
                                RowCounts received_rows) {
    auto checked = std::make_shared<Checked>();
    checked->sent_rows = std::move(sent_rows);
    checked->received_rows = std::move(received_rows);
    purpose_.copy(call.purpose, sizeof(call.purpose));
    checked->action = std::move(action);
    std::lock_guard lock(mutex_);
    call.sequence = ++calls_;
    checked->call = call;
    queue_.push_back(checked);
    changed_.notify_all();
    return checked;
  }

  /// Until everything posted is issued.
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.empty(); });
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::shared_ptr<Checked> next = queue_.front();
      lock.unlock();
      handle(*next);
      lock.lock();
      queue_.pop_front();
      changed_.notify_all();
    }
  }

  void handle(Checked& next) {
    std::exception_ptr error = broken_;
    if (!error) {
      try {
        agree(next);
      } catch (...) {
        error = broken_ = std::current_exception();
      }
    }
    if (!error && next.action) {
      try {
        next.work = next.action();
      } catch (...) {
        error = std::current_exception();
      }
    }
    next.finish(error);
  }

  /// Throws InternalError, with the same words on every rank, unless all ranks made this call, and each is sent the
  /// rows that it waits for. A message: the call, and in a group of few behind it its rows, of calls that have none
  /// whatever is there.
  void agree(const Checked& next) {
    static_assert(sizeof(CollectiveCall) % sizeof(int64_t) == 0 &&
                  std::has_unique_object_representations_v<CollectiveCall>);
    int64_t* own = own_.mutable_data_ptr<int64_t>();
    std::memcpy(own, &next.call, sizeof(CollectiveCall));
    if (one_message_) copy_rows(next, own + kCallNumbers);
    control_.all_gather(all_, own_).wait();
    std::vector<CollectiveCall> calls(static_cast<size_t>(control_.size()));
    for (int64_t r = 0; r < control_.size(); ++r)
      std::memcpy(static_cast<void*>(&calls[static_cast<size_t>(r)]), told(r), sizeof(CollectiveCall));
    const auto same = [&](const CollectiveCall& call) {
      return std::memcmp(&call, &calls[0], sizeof(CollectiveCall)) == 0;
    };
    if (!std::all_of(calls.begin(), calls.end(), same)) throw InternalError(disagreement(calls));
    if (next.sent_rows.empty()) return;
    if (one_message_) return compare_rows(next.call, all_.narrow(1, kCallNumbers, 2 * control_.size()));
    at::Tensor rows = at::empty({2 * control_.size()}, at::kLong),
               all = at::empty({control_.size(), rows.numel()}, at::kLong);
    copy_rows(next, rows.mutable_data_ptr<int64_t>());
    control_.all_gather(all, rows).wait();
    compare_rows(next.call, all);
  }

  const int64_t* told(int64_t rank) const { return all_.const_data_ptr<int64_t>() + rank * all_.size(1); }

  static void copy_rows(const Checked& next, int64_t* to) {
    std::ranges::copy(next.sent_rows, to);
    std::ranges::copy(next.received_rows, to + next.sent_rows.size());
  }

  /// rows: of each rank what it sends to each, and what it waits for from each.
  void compare_rows(const CollectiveCall& call, const at::Tensor& rows) const {
    const int64_t ranks = control_.size();
    const auto row_of = rows.accessor<int64_t, 2>();
    for (int64_t from = 0; from < ranks; ++from) {
      for (int64_t to = 0; to < ranks; ++to) {
        const int64_t sent = row_of[from][to], awaited = row_of[to][ranks + from];
        if (sent == awaited) continue;
        throw InternalError(concat("group '", purpose_, "': the ranks disagree: in ", call.describe(), " rank ", from,
                                   " sends ", sent, " rows to rank ", to, ", which waits for ", awaited));
      }
    }
  }

  Communicator& control_;
  std::string purpose_;
  bool one_message_;
  static constexpr auto kCallNumbers = static_cast<int64_t>(sizeof(CollectiveCall) / sizeof(int64_t));
  at::Tensor own_ = at::zeros({kCallNumbers + (one_message_ ? 2 * control_.size() : 0)}, at::kLong);
  at::Tensor all_ = at::zeros({control_.size(), own_.numel()}, at::kLong);
  std::exception_ptr broken_;  // the disagreement that ended this group
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Checked>> queue_;  // its front is in hand until it is issued
  int64_t calls_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

CheckedCommunicator::CheckedCommunicator(std::shared_ptr<Communicator> wrapped, std::shared_ptr<Communicator> control,
                                         std::string purpose, int64_t few_ranks)
    : wrapped_(std::move(wrapped)), control_(std::move(control)), purpose_(std::move(purpose)) {
  check_internal(wrapped_->rank() == control_->rank() && wrapped_->size() == control_->size(), "CheckedCommunicator: '",
                 purpose_, "' is rank ", wrapped_->rank(), " of ", wrapped_->size(), ", its control channel rank ",
                 control_->rank(), " of ", control_->size());
  if (size() > 1) checker_ = std::make_unique<Checker>(*control_, purpose_, few_ranks);
}

CheckedCommunicator::~CheckedCommunicator() = default;

Work CheckedCommunicator::issue(CollectiveCall call, const at::Tensor& tensor, const std::function<void()>& demands,
                                std::function<Work()> action, const RowCounts& sent_rows,
                                const RowCounts& received_rows) {
  if (!checker_) return action();
  // A tensor that one rank refuses is a disagreement; what all refuse each rank tells in the refusal's words.
  std::exception_ptr refusal;
  try {
    demands();
  } catch (const InternalError&) {
    refusal = std::current_exception();
    call.refused = 1;
  }
  if (!refusal && tensor.is_cpu()) {
    return {std::make_unique<CheckedWork>(checker_->post(call, std::move(action), sent_rows, received_rows)), {}};
  }
  if (refusal) {
    agree(call);
  } else {
    checker_->post(call, nullptr, sent_rows, received_rows)->wait();
  }
  if (refusal) std::rethrow_exception(refusal);
  return action();
}

Work CheckedCommunicator::all_reduce(at::Tensor tensor, ReduceOp op) {
  CollectiveCall call = CollectiveCall::on(tensor);
  call.operation = CollectiveCall::Operation::kAllReduce;
  call.reduce = static_cast<int64_t>(op);
  return issue(
      call, tensor, [&] { check_reducible(tensor); },
      [group = wrapped_, tensor, op] { return group->all_reduce(tensor, op); });
}

Work CheckedCommunicator::all_gather(at::Tensor gathered, at::Tensor part) {
  CollectiveCall call = CollectiveCall::on(part);
  call.operation = CollectiveCall::Operation::kAllGather;
  return issue(
      call, part, [&] { check_gatherable(gathered, part, size()); },
      [group = wrapped_, gathered, part] { return group->all_gather(gathered, part); });
}

Work CheckedCommunicator::all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                     const RowCounts& sent_rows, const After& after) {
  CollectiveCall call = CollectiveCall::on_rows(sent, {});
  call.ranks = CollectiveCall::kAbsent;
  call.operation = CollectiveCall::Operation::kAllToAll;
  return issue(
      call, sent, [&] { check_exchangeable(received, sent, received_rows, sent_rows, size()); },
      [group = wrapped_, received, sent, received_rows, sent_rows, after] {
        return group->all_to_all(received, sent, received_rows, sent_rows, after);
      },
      sent_rows, received_rows);
}

Work CheckedCommunicator::all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows,
                                          const After& after) {
  CollectiveCall call = CollectiveCall::on_rows(part, rows);
  call.operation = CollectiveCall::Operation::kAllGatherRows;
  return issue(
      call, part, [&] { check_row_parts(gathered, part, rows, rank(), size()); },
      [group = wrapped_, gathered, part, rows, after] { return group->all_gather_rows(gathered, part, rows, after); });
}

Work CheckedCommunicator::reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) {
  CollectiveCall call = CollectiveCall::on_rows(whole, rows);
  call.operation = CollectiveCall::Operation::kReduceScatterRows;
  const auto demands = [&] {
    check_reducible(whole);
    check_row_parts(whole, part, rows, rank(), size());
  };
  return issue(call, whole, demands,
               [group = wrapped_, part, whole, rows] { return group->reduce_scatter_rows(part, whole, rows); });
}

void CheckedCommunicator::agree(CollectiveCall call) {
  if (checker_) checker_->post(call, nullptr, {}, {})->wait();
}

void CheckedCommunicator::take_lane(Lane lane) { wrapped().take_lane(lane); }

std::string CheckedCommunicator::child_purpose() { return concat(purpose_, ".", ++children_); }

std::shared_ptr<Communicator> CheckedCommunicator::duplicate() {
  CollectiveCall call;
  call.operation = CollectiveCall::Operation::kDuplicate;
  agree(call);
  auto copy = wrapped_->duplicate();
  return std::make_shared<CheckedCommunicator>(std::move(copy), control_->duplicate(), child_purpose());
}

std::shared_ptr<Communicator> CheckedCommunicator::split(int64_t color, int64_t key) {
  CollectiveCall call;
  call.operation = CollectiveCall::Operation::kSplit;
  agree(call);
  auto part = wrapped_->split(color, key);
  return std::make_shared<CheckedCommunicator>(std::move(part), control_->split(color, key), child_purpose());
}

Communicator& CheckedCommunicator::wrapped() {
  if (checker_) checker_->drain();
  return *wrapped_;
}

std::shared_ptr<Communicator> checked(std::shared_ptr<Communicator> group, std::string purpose) {
  auto control = group->duplicate();
  return std::make_shared<CheckedCommunicator>(std::move(group), std::move(control), std::move(purpose));
}

Communicator& unwrapped(Communicator& group) {
  if (auto* counting = dynamic_cast<CountingCommunicator*>(&group)) return unwrapped(*counting->counted());
  auto* checked = dynamic_cast<CheckedCommunicator*>(&group);
  return checked != nullptr ? checked->wrapped() : group;
}

}  // namespace parallel
