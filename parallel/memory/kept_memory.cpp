#include "parallel/memory/kept_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>

namespace parallel {
namespace {

constexpr int64_t kHead = 64;  // as alloc_cpu aligns
constexpr int64_t kPage = 1 << 12;

/// The class of a size: the next multiple of an eighth of the power of two below it, in whole pages.
int64_t rounded(int64_t bytes) {
  if (bytes < KeptMemory::kLeast) return bytes;
  const int64_t step = std::max<int64_t>(kPage, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes))) / 8);
  return (bytes + step - 1) / step * step;
}

}  // namespace

KeptMemory& KeptMemory::install() {
  static KeptMemory* const installed = [] {
    auto* const made = new KeptMemory;
    c10::SetCPUAllocator(made);
    return made;
  }();
  return *installed;
}

c10::DataPtr KeptMemory::allocate(size_t bytes) {
  const int64_t capacity = rounded(static_cast<int64_t>(bytes) + kHead);
  Block* block = nullptr;
  if (capacity >= kLeast) {
    const std::lock_guard lock(mutex_);
    block = fitting(capacity);
    if (block == nullptr) {
      make_room(capacity);
    } else {
      hand_out(block->capacity);
    }
  }
  if (block == nullptr) {
    *(block = fresh(capacity)) = {this, capacity, 0};
    if (capacity >= kLeast) {
      const std::lock_guard lock(mutex_);
      ++use_.fresh;
      hand_out(capacity);
    }
  }
  void* const data = reinterpret_cast<char*>(block) + kHead;
  return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
}

KeptMemory::Block* KeptMemory::fresh(int64_t capacity) {
  const auto block = [&] { return static_cast<Block*>(c10::alloc_cpu(static_cast<size_t>(capacity))); };
  try {
    return block();
  } catch (const c10::Error&) {
    if (capacity < kLeast) throw;
  }
  release();  // perhaps that is what the system lacks
  return block();
}

void KeptMemory::hand_out(int64_t capacity) {
  use_.in_use += capacity;
  use_.most_in_use = std::max(use_.most_in_use, use_.in_use);
}

void KeptMemory::give_back(void* data) {
  if (data == nullptr) return;
  auto* const block = reinterpret_cast<Block*>(static_cast<char*>(data) - kHead);
  if (block->capacity < kLeast) return c10::free_cpu(block);
  KeptMemory& owner = *block->owner;
  const std::lock_guard lock(owner.mutex_);
  block->rests_since = ++owner.given_back_;
  owner.use_.in_use -= block->capacity;
  owner.use_.kept += block->capacity;
  owner.resting_[block->capacity].push_back(block);
}

KeptMemory::Block* KeptMemory::fitting(int64_t capacity) {
  const auto found = resting_.lower_bound(capacity);
  if (found == resting_.end() || found->first > capacity + capacity / 4) return nullptr;
  Block* const block = found->second.back();
  found->second.pop_back();
  if (found->second.empty()) resting_.erase(found);
  use_.kept -= block->capacity;
  return block;
}

void KeptMemory::make_room(int64_t capacity) {
  const int64_t most = std::max(use_.most_in_use, use_.in_use + capacity);
  const auto bound = static_cast<int64_t>((1 + surplus_) * static_cast<double>(most));
  while (use_.kept > 0 && use_.in_use + use_.kept + capacity > bound) drop_oldest();
}

void KeptMemory::drop_oldest() {
  const auto oldest =
      std::ranges::min_element(resting_, {}, [](const auto& of_class) { return of_class.second.front()->rests_since; });
  Block* const block = oldest->second.front();
  oldest->second.pop_front();
  if (oldest->second.empty()) resting_.erase(oldest);
  use_.kept -= block->capacity;
  c10::free_cpu(block);
}

KeptMemory::Use KeptMemory::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

void KeptMemory::release() {
  const std::lock_guard lock(mutex_);
  while (use_.kept > 0) drop_oldest();
}

int64_t page_faults() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return use.ru_minflt;
}

}  // namespace parallel
