#include "parallel/comm/checked_communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

constexpr int64_t kShownDims = 8;      // a longer shape is compared by these, its length and its element count
constexpr int64_t kPurposeBytes = 64;  // what is compared of a purpose

constexpr const char* kOperationNames[] = {"all_reduce", "all_gather", "all_to_all", "all_gather_rows",
                                           "reduce_scatter_rows", "duplicate", "split"};  // by Call::Operation
constexpr int64_t kAnyRows = -1;  // a first dimension that may differ from rank to rank

std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kLong:
      return "int64";
    default:
      return c10::toString(type);
  }
}

/// "rank 2", or "ranks 0, 1, 5".
std::string name_ranks(const std::vector<int64_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += concat(i == 0 ? "" : ", ", ranks[i]);
  return text;
}

}  // namespace

/// What one rank called, as the words that cross the wire: no padding, compared bytewise.
struct CheckedCommunicator::Call {
  enum class Operation : int64_t {
    kAllReduce,
    kAllGather,
    kAllToAll,
    kAllGatherRows,
    kReduceScatterRows,
    kDuplicate,
    kSplit
  };
  static constexpr int64_t kAbsent = -1;

  int64_t sequence = 0;
  Operation operation = Operation::kAllReduce;
  int64_t reduce = kAbsent, type = kAbsent, device = kAbsent, refused = 0;
  int64_t dims = kAbsent, elements = 0;
  int64_t sizes[kShownDims] = {};
  int64_t ranks = kAbsent, rows[kShownDims] = {}, rows_digest = 0;  // row counts that are the same on every rank
  char purpose[kPurposeBytes] = {};

  std::string describe() const {
    std::string text = kOperationNames[static_cast<size_t>(operation)];
    if (reduce != kAbsent) text += reduce == static_cast<int64_t>(ReduceOp::kSum) ? " sum" : " max";
    if (type != kAbsent) text += " " + type_name(static_cast<at::ScalarType>(type)) + " [";
    for (int64_t i = 0; i < std::min(dims, kShownDims); ++i) {
      text += i == 0 ? "" : ", ";
      text += sizes[i] == kAnyRows ? "*" : std::to_string(sizes[i]);
    }
    if (dims > kShownDims) text += concat(", ... of ", dims, " dims, ", elements, " elements");
    if (type != kAbsent) text += "]";
    if (device != kAbsent && device != static_cast<int64_t>(at::kCPU)) {
      text += " on " + c10::DeviceTypeName(static_cast<c10::DeviceType>(device), /*lower_case=*/true);
    }
    if (ranks != kAbsent) text += " of";
    for (int64_t r = 0; r < std::min(ranks, kShownDims); ++r) text += concat(r == 0 ? " " : ", ", rows[r]);
    if (ranks != kAbsent) text += concat(ranks > kShownDims ? ", ..." : "", " rows");
    if (refused != 0) text += " (a tensor that communicators refuse)";
    return concat(text, " as call ", sequence);
  }
};

/// One call on its way from its caller to the group's thread and back.
struct CheckedCommunicator::Checked {
  Call call;
  std::function<Work()> action;  // empty: the caller issues
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

 private:
  std::shared_ptr<Checked> checked_;
};

/// The thread of a group: takes calls in order, agrees on each over the control channel, issues it.
class CheckedCommunicator::Checker {
 public:
  Checker(Communicator& control, std::string purpose) : control_(control), purpose_(std::move(purpose)) {
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

  std::shared_ptr<Checked> post(Call call, std::function<Work()> action, RowCounts sent_rows, RowCounts received_rows) {
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
        agree(next.call);
        if (!next.sent_rows.empty()) agree_on_rows(next);
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

  /// Throws InternalError, with the same words on every rank, unless all ranks made `own` call.
  void agree(const Call& own) {
    static_assert(sizeof(Call) % sizeof(int64_t) == 0 && std::has_unique_object_representations_v<Call>);
    std::memcpy(own_.data_ptr(), &own, sizeof(Call));
    control_.all_gather(all_, own_).wait();
    std::vector<Call> calls(static_cast<size_t>(control_.size()));
    std::memcpy(calls.data(), all_.data_ptr(), calls.size() * sizeof(Call));
    const auto same = [&](const Call& call) { return std::memcmp(&call, &calls[0], sizeof(Call)) == 0; };
    if (!std::all_of(calls.begin(), calls.end(), same)) throw InternalError(disagreement(calls));
  }

  /// Throws InternalError, with the same words on every rank, unless each rank is sent what it waits for.
  void agree_on_rows(const Checked& next) {
    const int64_t ranks = control_.size();
    at::Tensor own = at::empty({2, ranks}, at::kLong), all = at::empty({ranks, 2, ranks}, at::kLong);
    own[0].copy_(at::tensor(next.sent_rows, at::kLong));
    own[1].copy_(at::tensor(next.received_rows, at::kLong));
    control_.all_gather(all, own).wait();
    const at::Tensor sent = all.select(1, 0), awaited = all.select(1, 1).t();
    const at::Tensor wrong = (sent != awaited).nonzero();
    if (wrong.size(0) == 0) return;
    const int64_t from = wrong[0][0].item<int64_t>(), to = wrong[0][1].item<int64_t>();
    throw InternalError(concat("group '", purpose_, "': the ranks disagree: in ", next.call.describe(), " rank ", from,
                               " sends ", sent[from][to].item<int64_t>(), " rows to rank ", to, ", which waits for ",
                               awaited[from][to].item<int64_t>()));
  }

  std::string disagreement(const std::vector<Call>& calls) const {
    const auto purpose_of = [](const Call& call) {
      return std::string(call.purpose, strnlen(call.purpose, sizeof(call.purpose)));
    };
    const bool one_purpose = std::all_of(calls.begin(), calls.end(),
                                         [&](const Call& call) { return purpose_of(call) == purpose_of(calls[0]); });
    std::map<std::string, std::vector<int64_t>> callers;
    for (size_t r = 0; r < calls.size(); ++r) {
      const std::string of_group = one_purpose ? "" : " of group '" + purpose_of(calls[r]) + "'";
      callers[calls[r].describe() + of_group].push_back(static_cast<int64_t>(r));
    }
    std::string text = one_purpose ? "group '" + purpose_of(calls[0]) + "': the ranks disagree" : "the ranks disagree";
    const char* between = ": ";
    for (const auto& [words, ranks] : callers) {
      text += concat(between, name_ranks(ranks), " called ", words);
      between = "; ";
    }
    return text;
  }

  Communicator& control_;
  std::string purpose_;
  at::Tensor own_ = at::zeros({static_cast<int64_t>(sizeof(Call) / sizeof(int64_t))}, at::kLong);
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
                                         std::string purpose)
    : wrapped_(std::move(wrapped)), control_(std::move(control)), purpose_(std::move(purpose)) {
  check_internal(wrapped_->rank() == control_->rank() && wrapped_->size() == control_->size(), "CheckedCommunicator: '",
                 purpose_, "' is rank ", wrapped_->rank(), " of ", wrapped_->size(), ", its control channel rank ",
                 control_->rank(), " of ", control_->size());
  if (size() > 1) checker_ = std::make_unique<Checker>(*control_, purpose_);
}

CheckedCommunicator::~CheckedCommunicator() = default;

CheckedCommunicator::Call CheckedCommunicator::call_on(const at::Tensor& tensor) {
  Call call;
  call.type = static_cast<int64_t>(tensor.scalar_type());
  call.device = static_cast<int64_t>(tensor.device().type());
  call.dims = tensor.dim();
  call.elements = tensor.numel();
  for (int64_t i = 0; i < std::min(call.dims, kShownDims); ++i) call.sizes[i] = tensor.size(i);
  return call;
}

CheckedCommunicator::Call CheckedCommunicator::call_on_rows(const at::Tensor& tensor, const RowCounts& rows) {
  Call call = call_on(tensor);
  call.sizes[0] = kAnyRows;
  call.elements = 0;
  call.ranks = static_cast<int64_t>(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r < kShownDims) call.rows[r] = rows[r];
    call.rows_digest = (call.rows_digest ^ rows[r]) * 0x100000001b3;  // FNV-1a's prime
  }
  return call;
}

Work CheckedCommunicator::issue(Call call, const at::Tensor& tensor, const std::function<void()>& demands,
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
  Call call = call_on(tensor);
  call.operation = Call::Operation::kAllReduce;
  call.reduce = static_cast<int64_t>(op);
  return issue(
      call, tensor, [&] { check_reducible(tensor); },
      [group = wrapped_, tensor, op] { return group->all_reduce(tensor, op); });
}

Work CheckedCommunicator::all_gather(at::Tensor gathered, at::Tensor part) {
  Call call = call_on(part);
  call.operation = Call::Operation::kAllGather;
  return issue(
      call, part, [&] { check_gatherable(gathered, part, size()); },
      [group = wrapped_, gathered, part] { return group->all_gather(gathered, part); });
}

Work CheckedCommunicator::all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows,
                                     const RowCounts& sent_rows) {
  Call call = call_on_rows(sent, {});
  call.ranks = Call::kAbsent;
  call.operation = Call::Operation::kAllToAll;
  return issue(
      call, sent, [&] { check_exchangeable(received, sent, received_rows, sent_rows, size()); },
      [group = wrapped_, received, sent, received_rows, sent_rows] {
        return group->all_to_all(received, sent, received_rows, sent_rows);
      },
      sent_rows, received_rows);
}

Work CheckedCommunicator::all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows) {
  Call call = call_on_rows(part, rows);
  call.operation = Call::Operation::kAllGatherRows;
  return issue(
      call, part, [&] { check_row_parts(gathered, part, rows, rank(), size()); },
      [group = wrapped_, gathered, part, rows] { return group->all_gather_rows(gathered, part, rows); });
}

Work CheckedCommunicator::reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) {
  Call call = call_on_rows(whole, rows);
  call.operation = Call::Operation::kReduceScatterRows;
  const auto demands = [&] {
    check_reducible(whole);
    check_row_parts(whole, part, rows, rank(), size());
  };
  return issue(call, whole, demands,
               [group = wrapped_, part, whole, rows] { return group->reduce_scatter_rows(part, whole, rows); });
}

void CheckedCommunicator::agree(Call call) {
  if (checker_) checker_->post(call, nullptr, {}, {})->wait();
}

std::string CheckedCommunicator::child_purpose() { return concat(purpose_, ".", ++children_); }

std::shared_ptr<Communicator> CheckedCommunicator::duplicate() {
  Call call;
  call.operation = Call::Operation::kDuplicate;
  agree(call);
  auto copy = wrapped_->duplicate();
  return std::make_shared<CheckedCommunicator>(std::move(copy), control_->duplicate(), child_purpose());
}

std::shared_ptr<Communicator> CheckedCommunicator::split(int64_t color, int64_t key) {
  Call call;
  call.operation = Call::Operation::kSplit;
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
  auto* checked = dynamic_cast<CheckedCommunicator*>(&group);
  return checked != nullptr ? checked->wrapped() : group;
}

}  // namespace parallel
