#include "tests/strict_device/memory.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

#include "tests/strict_device/streams.h"

namespace strict {
namespace {

constexpr int kPoison = 0xFF;  // a NaN of every floating type, -1 of every integer
constexpr size_t kAlignment = 512;

struct Mappings {
  int file = -1;
  char* address = nullptr;
  char* alias = nullptr;
};

const Mappings& mappings() {
  static const Mappings made = [] {
    Mappings result;
    result.file = memfd_create("strict_device", 0);  // other ranks map it, so it stays open
    TORCH_CHECK(result.file >= 0 && ftruncate(result.file, kDeviceBytes) == 0, "strict device: no memory");
    const auto map = [&](int access) {
      void* place = mmap(nullptr, kDeviceBytes, access, MAP_SHARED | MAP_NORESERVE, result.file, 0);
      TORCH_CHECK(place != MAP_FAILED, "strict device: cannot map its memory");
      return static_cast<char*>(place);
    };
    result.address = map(PROT_NONE);
    result.alias = map(PROT_READ | PROT_WRITE);
    return result;
  }();
  return made;
}

/// An eighth of the next power of two is the step between sizes, so that few of them serve many requests.
size_t rounded(size_t bytes) {
  const size_t step = std::max(kAlignment, std::bit_ceil(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

class DeviceAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* place = bytes == 0 ? nullptr : take(rounded(bytes));
    return {place, place, &give_back, c10::Device(c10::DeviceType::PrivateUse1, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  /// Of the block that the address lies in.
  uint64_t& use_of(const void* address) {
    auto next = uses_.upper_bound(address);
    TORCH_CHECK(next != uses_.begin(), "strict device: memory that was never given out");
    return std::prev(next)->second;
  }
  std::mutex& mutex() { return mutex_; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(alias_of(to), alias_of(from), bytes);
  }

 private:
  static void give_back(void* place);

  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::deque<void*>& free = free_[bytes];
    void* place = nullptr;
    if (free.empty()) {
      TORCH_CHECK(used_ + bytes <= kDeviceBytes, "strict device: its memory is full");
      place = mappings().address + used_;
      used_ += bytes;
    } else {
      place = free.front();
      free.pop_front();
    }
    bytes_[place] = bytes;
    uses_[place] = tick();
    std::memset(alias_of(place), kPoison, bytes);
    return place;
  }

  void put(void* place) {
    const std::lock_guard lock(mutex_);
    const size_t bytes = bytes_.at(place);
    std::memset(alias_of(place), kPoison, bytes);
    free_[bytes].push_back(place);
  }

  std::mutex mutex_;
  size_t used_ = 0;
  std::unordered_map<void*, size_t> bytes_;
  std::map<const void*, uint64_t> uses_;  // by where a block begins
  std::map<size_t, std::deque<void*>> free_;
};

DeviceAllocator& allocator() {
  static auto* const only = new DeviceAllocator;  // tensors may outlive every static
  return *only;
}

void DeviceAllocator::give_back(void* place) {
  if (place != nullptr) allocator().put(place);
}

class PinnedAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* place = nullptr;
    if (bytes > 0) {
      TORCH_CHECK(posix_memalign(&place, kAlignment, bytes) == 0, "strict device: no pinned memory");
      std::memset(place, kPoison, bytes);
      const std::lock_guard lock(mutex_);
      const size_t whole = std::bit_ceil(bytes);
      blocks_[static_cast<char*>(place)] = {static_cast<char*>(place) + bytes, whole};
      size_t& idle = idle_[whole];
      idle > 0 ? --idle : kept_bytes_ += whole;
    }
    return {place, place, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  bool holds(const void* address) {
    const std::lock_guard lock(mutex_);
    return find(address) != nullptr;
  }
  void travels(const void* address) {
    const std::lock_guard lock(mutex_);
    if (Block* block = find(address)) block->travels = true;
  }
  void arrived() {
    const std::lock_guard lock(mutex_);
    for (auto& [begin, block] : blocks_) block.travels = false;
    for (const auto& [whole, count] : travelling_) idle_[whole] += count;
    travelling_.clear();
  }
  size_t kept_bytes() const { return kept_bytes_; }

 private:
  struct Block {
    char* end;
    size_t whole;  // what LibTorch takes for it
    bool travels = false;
  };
  Block* find(const void* address) {
    auto next = blocks_.upper_bound(static_cast<char*>(const_cast<void*>(address)));
    return next != blocks_.begin() && address < std::prev(next)->second.end ? &std::prev(next)->second : nullptr;
  }
  static void give_back(void* place);
  void put(void* place) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(static_cast<char*>(place));
    ++(block->second.travels ? travelling_ : idle_)[block->second.whole];
    blocks_.erase(block);
    std::free(place);
  }

  std::mutex mutex_;
  std::map<char*, Block> blocks_;               // by beginning
  std::map<size_t, size_t> idle_, travelling_;  // blocks that were given back, by size
  size_t kept_bytes_ = 0;
};

PinnedAllocator& pinned() {
  static auto* const only = new PinnedAllocator;
  return *only;
}

/// Writes what was kept when the process ends.
struct PinnedReport {
  ~PinnedReport() {
    const char* path = std::getenv("STRICT_DEVICE_PINNED");
    if (path == nullptr) return;
    std::FILE* file = std::fopen((std::string(path) + "." + std::to_string(getpid())).c_str(), "w");
    if (file == nullptr) return;
    std::fprintf(file, "%zu\n", pinned().kept_bytes());
    std::fclose(file);
  }
};
const PinnedReport pinned_report;

void PinnedAllocator::give_back(void* place) {
  if (place != nullptr) pinned().put(place);
}

}  // namespace

bool is_of_device(const void* address) {
  const char* place = static_cast<const char*>(address);
  return mappings().address <= place && place < mappings().address + kDeviceBytes;
}

void* alias_of(const void* address) {
  if (address == nullptr) return nullptr;
  TORCH_CHECK(is_of_device(address), "strict device: a host's address where one of the device belongs");
  return mappings().alias + place_in_file(address);
}

size_t place_in_file(const void* address) {
  return static_cast<size_t>(static_cast<const char*>(address) - mappings().address);
}

void note_use(const void* address, uint64_t tick) {
  if (address == nullptr) return;
  const std::lock_guard lock(allocator().mutex());
  allocator().use_of(address) = tick;
}

uint64_t last_use(const void* address) {
  const std::lock_guard lock(allocator().mutex());
  return allocator().use_of(address);
}

int memory_file() { return mappings().file; }
c10::Allocator& device_allocator() { return allocator(); }
c10::Allocator& pinned_allocator() { return pinned(); }
bool is_pinned(const void* address) { return pinned().holds(address); }
void pinned_travels(const void* address) { pinned().travels(address); }
void pinned_arrived() { pinned().arrived(); }

}  // namespace strict
