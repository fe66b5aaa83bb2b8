// Memory of a GPU, or of what stands in for one (tests/strict_device/simt), for tests of kernels.
// defines: DeviceBuffer, expect_no_fault
#pragma once
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace parallel {

inline void expect_no_fault(const char* fault) { EXPECT_EQ(fault, nullptr) << fault; }

/// As many numbers as the host gave, or not-a-numbers of all bits set, beginning `skip` numbers behind a multiple of 16
/// bytes. The stand-in's ends with the last one at a page without access.
template <class Number>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(const std::vector<Number>& numbers, size_t skip = 0) : count_(numbers.size()), skip_(skip) {
    allocate();
    copy(whole_ + skip_, numbers.data(), cudaMemcpyHostToDevice);
  }
  explicit DeviceBuffer(size_t count, size_t skip = 0) : count_(count), skip_(skip) {
    allocate();
    const std::vector<char> fresh(count_ * sizeof(Number), static_cast<char>(0xFF));
    copy(whole_ + skip_, fresh.data(), cudaMemcpyHostToDevice);
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { EXPECT_EQ(cudaFree(whole_), cudaSuccess) << "memory around a buffer was written"; }

  Number* data() const { return whole_ + skip_; }

  /// When all kernels are done.
  std::vector<Number> on_host() const {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<Number> numbers(count_);
    copy(numbers.data(), whole_ + skip_, cudaMemcpyDeviceToHost);
    return numbers;
  }

 private:
  void allocate() {
    void* address = nullptr;
    EXPECT_EQ(cudaMalloc(&address, (count_ + skip_) * sizeof(Number)), cudaSuccess);
    whole_ = static_cast<Number*>(address);
  }
  void copy(void* to, const void* from, cudaMemcpyKind kind) const {
    if (count_ > 0) {
      EXPECT_EQ(cudaMemcpy(to, from, count_ * sizeof(Number), kind), cudaSuccess);
    }
  }

  size_t count_, skip_;
  Number* whole_ = nullptr;
};

}  // namespace parallel
