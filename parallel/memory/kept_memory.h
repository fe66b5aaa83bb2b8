// defines: KeptMemory, page_faults: memory that tensors gave back, kept for the next ones
#pragma once
#include <c10/core/Allocator.h>

#include <cstdint>
#include <mutex>

#include "parallel/memory/free_ranges.h"
#include "parallel/memory/resting_pages.h"

namespace parallel {

/// An allocator of CPU tensors. The system takes a large block back at once, and hands pages of zeros out for the next
/// one, each at the price of a page fault; training asks for the same sizes again at every update. So blocks of kLeast
/// bytes and more are cut, in whole pages, from addresses of which the system is asked for kGrowth bytes at a time, and
/// what is given back is joined with its neighbours (FreeRanges) and keeps its pages. In use and kept together are at
/// most 1 + surplus times the most that was ever in use: where a block would break that, pages that have rested
/// longest go back to the system, and their addresses stay. So what is scattered among blocks costs page faults at
/// worst, not memory, but for the rest of a huge page (2 MiB) at an end of what is free. Smaller blocks come from the
/// system's own heap. Any thread may ask and give back.
class KeptMemory : public c10::Allocator {
 public:
  static constexpr int64_t kLeast = 1 << 16;
  static constexpr int64_t kGrowth = 1 << 26;
  static constexpr double kSurplus = 0.1;

  /// Bytes of blocks from kLeast on, each in whole pages with a head of 64 bytes.
  struct Use {
    int64_t in_use = 0;
    int64_t kept = 0;         // beside it, of nobody
    int64_t most_in_use = 0;  // so far
    int64_t most_held = 0;    // in use and kept together, so far
    int64_t fresh = 0;        // pages that the system gave so far, those that it had back among them
  };

  explicit KeptMemory(double surplus = kSurplus) : surplus_(surplus) {}
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  /// All blocks must have been given back.
  ~KeptMemory() override { release(); }

  /// Makes one LibTorch's allocator of CPU tensors, for good: tensors may outlive every static. Called again, it does
  /// nothing.
  static KeptMemory& install();
  /// The one that is LibTorch's allocator now; none is: nullptr.
  static const KeptMemory* installed();

  /// Aligned to 64 bytes. c10::Error where the system has not so much.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }

  Use use() const;
  /// Gives back to the system what is of nobody, addresses too.
  void release();

 private:
  /// Stands before the numbers, as far as they are aligned.
  struct Head {
    KeptMemory* owner;
    int64_t size;  // of all of the block; below kLeast: of the system's heap
  };
  static void give_back(void* data);
  // With the mutex held.
  AddressRange take(int64_t size);
  AddressRange fresh_addresses(int64_t size);
  void keep_bound();
  void unmap_free();

  const double surplus_;
  mutable std::mutex mutex_;
  FreeRanges free_;
  RestingPages resting_;  // of free_, those that hold memory
  Use use_;               // but for what is kept
};

/// Minor faults of this process so far: each brought a page, or a huge one.
int64_t page_faults();

}  // namespace parallel
