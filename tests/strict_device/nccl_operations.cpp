#include "tests/strict_device/nccl_operations.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "tests/strict_device/memory.h"

namespace strict {
namespace {

size_t bytes_of(int64_t type) {
  switch (type) {
    case ncclInt8:
      return 1;
    case ncclFloat32:
      return 4;
    case ncclFloat64:
    case ncclInt64:
      return 8;
    default:
      refuse("a type that moetrain does not use");
  }
}

template <class Number>
void combine(void* into, const void* other, int64_t count, int64_t op) {
  auto* sum = static_cast<Number*>(into);
  const auto* next = static_cast<const Number*>(other);
  for (int64_t i = 0; i < count; ++i) sum[i] = op == ncclSum ? sum[i] + next[i] : std::max(sum[i], next[i]);
}

void combine(void* into, const void* other, const Operation& operation) {
  switch (operation.type) {
    case ncclFloat32:
      return combine<float>(into, other, operation.count, operation.op);
    case ncclFloat64:
      return combine<double>(into, other, operation.count, operation.op);
    case ncclInt64:
      return combine<int64_t>(into, other, operation.count, operation.op);
    default:
      refuse("a sum of bytes");
  }
}

/// A collective: all say what they do; all read what they need; all write.
class Collective {
 public:
  Collective(ncclComm* comm, const Operation& operation) : comm_(comm), operation_(operation) {}

  bool step() {
    if (stage_ == 0) say();
    if (stage_ == 1) {
      if (!comm_->all_arrived(phase_ + 1)) return false;
      compare();
      read();
      comm_->arrive();
      stage_ = 2;
    }
    if (!comm_->all_arrived(phase_ + 2)) return false;
    if (!result_.empty()) std::memcpy(alias_of(operation_.to), result_.data(), result_.size());
    return true;
  }

 private:
  void say() {
    Slot& own = comm_->slots[comm_->rank];
    own.kind = static_cast<int64_t>(operation_.kind);
    own.count = operation_.count;
    own.type = operation_.type;
    own.op = operation_.op;
    own.root = operation_.root;
    own.from = place_in_file(operation_.from);
    phase_ = comm_->phase;
    comm_->phase += 2;
    comm_->arrive();
    stage_ = 1;
  }

  void compare() const {
    const Slot& own = comm_->slots[comm_->rank];
    for (int r = 0; r < comm_->size; ++r) {
      const Slot& other = comm_->slots[r];
      const bool same = other.kind == own.kind && other.count == own.count && other.type == own.type &&
                        other.op == own.op && other.root == own.root;
      if (same) continue;
      refuse("ranks " + std::to_string(comm_->rank) + " and " + std::to_string(r) + " of " + comm_->name + " issue " +
             kNames[own.kind] + " of " + std::to_string(own.count) + " and " + kNames[other.kind] + " of " +
             std::to_string(other.count));
    }
  }

  const char* of_rank(int rank) const { return comm_->memory[static_cast<size_t>(rank)] + comm_->slots[rank].from; }

  void read() {
    const size_t bytes = static_cast<size_t>(operation_.count) * bytes_of(operation_.type);
    switch (operation_.kind) {
      case Kind::kAllGather:
        for (int r = 0; r < comm_->size; ++r) result_.insert(result_.end(), of_rank(r), of_rank(r) + bytes);
        return;
      case Kind::kBroadcast: {
        const char* from = of_rank(static_cast<int>(operation_.root));
        result_.assign(from, from + bytes);
        return;
      }
      case Kind::kReduceScatter:
        return sum(static_cast<size_t>(comm_->rank) * bytes, bytes);
      case Kind::kReduce:
        if (operation_.root != comm_->rank) return;
        return sum(0, bytes);
      default:
        return sum(0, bytes);
    }
  }

  void sum(size_t begin, size_t bytes) {
    result_.assign(of_rank(0) + begin, of_rank(0) + begin + bytes);
    for (int r = 1; r < comm_->size; ++r) combine(result_.data(), of_rank(r) + begin, operation_);
  }

  ncclComm* comm_;
  Operation operation_;
  int stage_ = 0;
  uint64_t phase_ = 0;
  std::vector<char> result_;
};

/// Sends and receives that were issued together.
class Exchange {
 public:
  Exchange(ncclComm* comm, std::vector<Operation> operations)
      : comm_(comm), operations_(std::move(operations)), done_(operations_.size(), 0) {}

  bool step() {
    bool complete = true;
    for (size_t i = 0; i < operations_.size(); ++i) {
      if (done_[i] != kComplete) advance(i);
      complete &= done_[i] == kComplete;
    }
    return complete;
  }

 private:
  static constexpr char kComplete = 2;

  void advance(size_t i) {
    const Operation& operation = operations_[i];
    const int peer = static_cast<int>(operation.root);
    if (operation.kind == Kind::kSend) {
      Mail& mail = comm_->mail(comm_->rank, peer);
      if (mail.posted.load() != mail.taken.load() && done_[i] == 0) return;
      if (done_[i] == 0) {
        mail.from = place_in_file(operation.from);
        mail.bytes = operation.count;
        mail.posted.fetch_add(1);
        done_[i] = 1;
      }
      if (mail.posted.load() == mail.taken.load()) done_[i] = kComplete;
      return;
    }
    Mail& mail = comm_->mail(peer, comm_->rank);
    if (mail.posted.load() == mail.taken.load()) return;
    if (mail.bytes != operation.count) {
      refuse("rank " + std::to_string(peer) + " of " + comm_->name + " sends " + std::to_string(mail.bytes) +
             " bytes to rank " + std::to_string(comm_->rank) + ", which waits for " + std::to_string(operation.count));
    }
    std::memcpy(alias_of(operation.to), comm_->memory[static_cast<size_t>(peer)] + mail.from,
                static_cast<size_t>(mail.bytes));
    mail.taken.fetch_add(1);
    done_[i] = kComplete;
  }

  ncclComm* comm_;
  std::vector<Operation> operations_;
  std::vector<char> done_;
};

}  // namespace

Step collective(ncclComm* comm, const Operation& operation) {
  auto state = std::make_shared<Collective>(comm, operation);
  return [state] { return state->step(); };
}

Step exchange(ncclComm* comm, std::vector<Operation> operations) {
  auto state = std::make_shared<Exchange>(comm, std::move(operations));
  return [state] { return state->step(); };
}

}  // namespace strict
