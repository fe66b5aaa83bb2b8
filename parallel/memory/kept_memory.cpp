#include "parallel/memory/kept_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace parallel {
namespace {

constexpr int64_t kHead = 64;                // as alloc_cpu aligns
constexpr int64_t kLeastReturned = 1 << 20;  // a call of the system takes about as long as 100 of its pages
constexpr size_t kAddresses = size_t{1} << 56;

int64_t in_pages(int64_t bytes) {
  static const int64_t page = sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }

/// Of 2 MiB; some processors have them of 512, in which the bound would mean nothing.
bool has_small_huge_pages() {
  static const bool kFound = [] {
    int64_t bytes = 0;
    std::ifstream("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") >> bytes;
    return bytes > 0 && bytes <= int64_t{2} << 20;
  }();
  return kFound;
}

/// In huge pages where the system has them: what a loop reads then crosses a page, and waits for where the next one is,
/// a five-hundredth as often.
void* map(int64_t size) {
  void* const begin =
      mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin != MAP_FAILED && has_small_huge_pages()) madvise(begin, static_cast<size_t>(size), MADV_HUGEPAGE);
  return begin;
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

const KeptMemory* KeptMemory::installed() { return dynamic_cast<const KeptMemory*>(c10::GetCPUAllocator()); }

c10::DataPtr KeptMemory::allocate(size_t bytes) {
  TORCH_CHECK(bytes < kAddresses, "can't allocate memory: you tried to allocate ", bytes, " bytes");
  int64_t size = static_cast<int64_t>(bytes) + kHead;
  void* block = nullptr;
  if (size < kLeast) {
    block = c10::alloc_cpu(static_cast<size_t>(size));
  } else {
    size = in_pages(size);
    const std::lock_guard lock(mutex_);
    block = at(take(size).begin);
  }
  *static_cast<Head*>(block) = {this, size};
  void* const data = static_cast<char*>(block) + kHead;
  return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
}

void KeptMemory::give_back(void* data) {
  if (data == nullptr) return;
  auto* const head = reinterpret_cast<Head*>(static_cast<char*>(data) - kHead);
  if (head->size < kLeast) return c10::free_cpu(head);
  KeptMemory& owner = *head->owner;
  const auto begin = reinterpret_cast<uintptr_t>(head);
  const AddressRange range{begin, begin + static_cast<uintptr_t>(head->size)};
  const std::lock_guard lock(owner.mutex_);
  owner.use_.in_use -= range.size();
  owner.free_.put(range);
  owner.resting_.add(range);
}

AddressRange KeptMemory::take(int64_t size) {
  const auto found = free_.take(size);
  const AddressRange range = found ? *found : fresh_addresses(size);
  use_.fresh += size - resting_.remove(range);
  use_.in_use += size;
  use_.most_in_use = std::max(use_.most_in_use, use_.in_use);
  keep_bound();
  use_.most_held = std::max(use_.most_held, use_.in_use + resting_.bytes());
  return range;
}

AddressRange KeptMemory::fresh_addresses(int64_t size) {
  int64_t mapped = std::max(size, kGrowth);
  void* begin = map(mapped);
  if (begin == MAP_FAILED) {
    unmap_free();  // perhaps that is what the system lacks
    begin = map(mapped = size);
  }
  TORCH_CHECK(begin != MAP_FAILED, "can't allocate memory: you tried to allocate ", size, " bytes. Error code ", errno,
              " (", std::strerror(errno), ")");
  const auto first = reinterpret_cast<uintptr_t>(begin);
  free_.put({first, first + static_cast<uintptr_t>(mapped)});  // the system has put it beside its last, mostly
  return *free_.take(size);
}

void KeptMemory::keep_bound() {
  const auto bound = static_cast<int64_t>((1 + surplus_) * static_cast<double>(use_.most_in_use));
  while (resting_.bytes() > 0 && use_.in_use + resting_.bytes() > bound) {
    const int64_t above = in_pages(use_.in_use + resting_.bytes() - bound);
    const AddressRange oldest = resting_.remove_oldest(std::max(above, kLeastReturned));
    madvise(at(oldest.begin), static_cast<size_t>(oldest.size()), MADV_DONTNEED);
  }
}

void KeptMemory::unmap_free() {
  for (const AddressRange range : free_.take_all()) munmap(at(range.begin), static_cast<size_t>(range.size()));
  resting_.clear();
}

KeptMemory::Use KeptMemory::use() const {
  const std::lock_guard lock(mutex_);
  Use use = use_;
  use.kept = resting_.bytes();
  return use;
}

void KeptMemory::release() {
  const std::lock_guard lock(mutex_);
  unmap_free();
}

int64_t page_faults() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return use.ru_minflt;
}

}  // namespace parallel
