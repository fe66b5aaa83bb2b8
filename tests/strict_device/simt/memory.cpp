// Memory and clock of the stand-in for CUDA's runtime.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <map>

#include "tests/strict_device/simt/cuda_runtime.h"

namespace simt {
namespace {

constexpr unsigned char kFresh = 0xFF, kAround = 0xA5;
constexpr size_t kAlignment = 16;  // the least that CUDA's kernels use of its own

struct Block {
  char* pages;
  size_t bytes_of_pages, bytes;
};

std::map<void*, Block>& blocks() {
  static auto* const all = new std::map<void*, Block>;
  return *all;
}

size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

cudaError_t cudaMalloc(void** address, size_t bytes) {
  const size_t aligned = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const size_t inner = (aligned + page() - 1) / page() * page(), whole = inner + 2 * page();
  void* pages = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return cudaErrorInvalidConfiguration;
  char* first = static_cast<char*>(pages) + page();
  mprotect(first, inner, PROT_READ | PROT_WRITE);
  std::memset(first, kAround, inner);
  *address = first + inner - aligned;
  std::memset(*address, kFresh, bytes);
  blocks()[*address] = {static_cast<char*>(pages), whole, bytes};
  return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
  if (address == nullptr) return cudaSuccess;
  const Block block = blocks().at(address);
  blocks().erase(address);
  bool whole = true;
  const char *begin = block.pages + page(), *end = block.pages + block.bytes_of_pages - page();
  const char* own = static_cast<const char*>(address);
  for (const char* at = begin; at < end; ++at) {
    if ((at < own || at >= own + block.bytes) && static_cast<unsigned char>(*at) != kAround) whole = false;
  }
  munmap(block.pages, block.bytes_of_pages);
  return whole ? cudaSuccess : cudaErrorLaunchFailure;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new double;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *event = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = static_cast<float>(1e3 * (*end - *begin));
  return cudaSuccess;
}

}  // namespace simt
