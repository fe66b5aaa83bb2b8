// defines: KeptMemory, page_faults: memory that tensors gave back, kept for the next ones
#pragma once
#include <c10/core/Allocator.h>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>

namespace parallel {

/// An allocator of CPU tensors. The system takes a large block back at once, and hands pages of zeros out for the next
/// one, each at the price of a page fault; training asks for the same sizes again at every update. So blocks of
/// kLeast bytes and more that are given back are kept, in classes of sizes an eighth of a power of two apart, and one
/// up to a quarter larger than what is wanted serves. In use and kept together are at most 1 + surplus times the most
/// that was ever in use: before a fresh block would break that, those that have rested longest go back to the system.
/// Smaller ones come from the system's own heap. Any thread may ask and give back.
class KeptMemory : public c10::Allocator {
 public:
  static constexpr int64_t kLeast = 1 << 16;
  static constexpr double kSurplus = 0.25;

  /// Bytes of blocks from kLeast on; each is a little larger than what was asked for.
  struct Use {
    int64_t in_use = 0;
    int64_t kept = 0;         // beside it, of nobody
    int64_t most_in_use = 0;  // so far
    int64_t fresh = 0;        // how many were taken from the system so far
  };

  explicit KeptMemory(double surplus = kSurplus) : surplus_(surplus) {}
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;

  /// Makes one LibTorch's allocator of CPU tensors, for good: tensors may outlive every static. Called again, it does
  /// nothing.
  static KeptMemory& install();

  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }

  Use use() const;
  /// Gives back to the system what is of nobody.
  void release();

 private:
  /// Stands before the numbers, as far as they are aligned.
  struct Block {
    KeptMemory* owner;
    int64_t capacity;  // of all of it; below kLeast: never kept
    uint64_t rests_since;
  };
  static void give_back(void* data);
  /// From the system. c10::Error where it has none.
  Block* fresh(int64_t capacity);
  // With the mutex held.
  Block* fitting(int64_t capacity);
  void hand_out(int64_t capacity);
  void make_room(int64_t capacity);
  void drop_oldest();

  const double surplus_;
  mutable std::mutex mutex_;
  std::map<int64_t, std::deque<Block*>> resting_;  // by capacity; the newest is last, and taken first
  uint64_t given_back_ = 0;
  Use use_;
};

/// Pages that the system has handed to this process so far (minor faults).
int64_t page_faults();

}  // namespace parallel
