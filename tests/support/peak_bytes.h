// defines: PeakBytes: what LibTorch's CPU tensors take at most
#pragma once
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

/// Bytes of CPU tensors above those at its birth, at most so far. Counts every allocation of LibTorch's CPU allocator
/// in this process from the first PeakBytes on, as asked for; buffers of MPI and of matrix multiplication are not among
/// them. Tensors made before the first PeakBytes are freed uncounted.
class PeakBytes {
 public:
  PeakBytes() : allocator_(installed()), before_(allocator_.bytes) { allocator_.peak = before_; }

  int64_t peak() const { return allocator_.peak - before_; }
  int64_t now() const { return allocator_.bytes - before_; }
  void restart() { allocator_.peak = allocator_.bytes.load(); }

 private:
  class Counting : public c10::Allocator {
   public:
    c10::DataPtr allocate(size_t bytes_wanted) override {
      char* block = static_cast<char*>(c10::alloc_cpu(kHead + bytes_wanted));
      const auto size = static_cast<int64_t>(bytes_wanted);
      std::memcpy(block, &size, sizeof(size));
      const int64_t total = bytes += size;
      int64_t most = peak;
      while (total > most && !peak.compare_exchange_weak(most, total)) {
      }
      void* data = block + kHead;
      return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
    void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }

    std::atomic<int64_t> bytes = 0, peak = 0;

   private:
    static constexpr size_t kHead = 64;  // holds the size, and keeps the tensor aligned as alloc_cpu aligns it

    static void give_back(void* data) {
      char* block = static_cast<char*>(data) - kHead;
      int64_t size = 0;
      std::memcpy(&size, block, sizeof(size));
      installed().bytes -= size;
      c10::free_cpu(block);
    }
  };

  static Counting& installed() {
    static Counting* const allocator = [] {
      auto* const made = new Counting;  // tensors may outlive every static
      c10::SetCPUAllocator(made, /*priority=*/1);
      return made;
    }();
    return *allocator;
  }

  Counting& allocator_;
  int64_t before_;
};
