// What LibTorch asks of a kind of device: which is current, its streams and events, its memory. One device a process.
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <string>

#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"
#include "parallel/device/cuda_device.h"
#include "parallel/device/visible_gpus.h"
#include "tests/strict_device/memory.h"
#include "tests/strict_device/nccl_operations.h"
#include "tests/strict_device/streams.h"
#include "tests/strict_device/waits.h"

namespace strict {
namespace {

const c10::Device kDevice(c10::DeviceType::PrivateUse1, 0);

c10::Stream stream_of(c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, kDevice, id); }

using EventHolder = std::shared_ptr<Event>;
EventHolder& held(void* event) { return *static_cast<EventHolder*>(event); }

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }  // for a while
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() <= 0, "strict device: there is one, not ", device);
    choose_device();
  }
  void uncheckedSetDevice(c10::Device) const noexcept override {}  // back again
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

  c10::Stream getStream(c10::Device) const override { return stream_of(current_stream()); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream_of(kDefaultStream); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream_of(new_stream()); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream_of(new_stream()); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream_of(exchange_stream(stream.id())); }
  void* getStreamNativeHandle(c10::Stream stream) const override { return reinterpret_cast<void*>(stream.id()); }
  bool queryStream(const c10::Stream& stream) const override { return idle(stream.id()); }
  void synchronizeStream(const c10::Stream& stream) const override {
    count_wait("synchronize");
    host_waits(stream.id());
  }
  void synchronizeDevice(c10::DeviceIndex) const override {
    count_wait("synchronize");
    host_waits_for_all();
  }

  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<EventHolder*>(event); }
  void record(void** event, const c10::Stream& stream, c10::DeviceIndex, c10::EventFlag) const override {
    TORCH_CHECK(!in_open_group(stream.id()),
                "strict device: an event is recorded before the operations of an open group");
    if (*event == nullptr) *event = new EventHolder;
    held(*event) = strict::record(stream.id());
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (stream.id() == kDefaultStream && held(event)->stream != kDefaultStream) count_wait(kComputeWaits);
    wait_for(stream.id(), held(event));
  }
  bool queryEvent(void* event) const override {
    if (!passed(*held(event))) return false;
    host_saw(*held(event));
    return true;
  }
  void synchronizeEvent(void* event) const override {
    count_wait("synchronize");
    host_waits(*held(event));
  }
  double elapsedTime(void* earlier, void* later, c10::DeviceIndex) const override {
    return 1e3 * (held(later)->seconds - held(earlier)->seconds);
  }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {
    TORCH_CHECK(false,
                "strict device: record_stream hides who waits for whom; hold the tensor until the work is waited for");
  }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator(); }
  c10::Device getDeviceFromPtr(void*) const override { return kDevice; }
};

/// When the library is loaded, which is where a device is asked for.
const bool registered = [] {
  c10::register_privateuse1_backend("strict");
  static c10::impl::DeviceGuardImplRegistrar guard(kDevice.type(), new Guard);
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  c10::SetAllocator(kDevice.type(), &device_allocator());
  return true;
}();

}  // namespace
}  // namespace strict

namespace parallel {

namespace {

/// The word for this rank among those of a variable of the environment; empty: there are none.
std::string word_of_rank(const char* variable) {
  const char* words = std::getenv(variable);
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (words == nullptr) return "";
  const std::vector<std::string_view> all = split(words, ',');
  return std::string(all[static_cast<size_t>(rank == nullptr ? 0 : std::atoi(rank)) % all.size()]);
}

}  // namespace

/// There are as many as wanted, or as STRICT_DEVICE_GPUS says.
at::Device open_cuda_device(int64_t local_rank) {
  const char* visible = std::getenv("STRICT_DEVICE_GPUS");
  gpu_of_rank(local_rank, visible == nullptr ? local_rank + 1 : std::atoi(visible));
  strict::choose_device();
  return strict::kDevice;
}

OpenedDevice opened_cuda_device() {
  const std::string name = word_of_rank("STRICT_DEVICE_KINDS");
  return {.name = name.empty() ? "strict" : name, .id = word_of_rank("STRICT_DEVICE_IDS"), .nccl = {}};
}

int64_t cuda_multiprocessors() { return 132; }

DeviceFacts cuda_facts() { return {.built_with = "a strict device of the tests", .nccl = {}, .gpus = {"strict"}}; }

}  // namespace parallel
