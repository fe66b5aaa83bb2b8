// The kernels of parallel/device_kernels, compiled for the host (simt/), as the strict device's own: over the other
// addresses of its memory, a step of the stream that they are put into.
#include <cstdlib>
#include <string_view>

#include "parallel/device/cuda_device.h"
#include "parallel/device_kernels/device_kernels.h"
#include "tests/strict_device/launches.h"
#include "tests/strict_device/memory.h"
#include "tests/strict_device/streams.h"

namespace strict {
namespace {

using parallel::DeviceKernels;
using parallel::DeviceStream;

int64_t bytes_of(parallel::Element element) {
  if (element == parallel::Element::kDouble) return 8;
  return element == parallel::Element::kFloat ? 4 : 2;
}

// What each touches; of rows that are picked, only these.
namespace on = parallel::on_device;
constexpr int64_t kIndex = 8, kCount = 4;

template <class Call>
void note_elementwise(const char* name, const Call& call, int inputs, int outputs) {
  std::vector<Touched> touched;
  for (int i = 0; i < inputs + outputs; ++i) {
    touched.emplace_back(std::vector<int64_t>{call.count}, bytes_of(call.element), i >= inputs);
  }
  record_launch(name, touched);
}
void note(const on::Swiglu& call) { note_elementwise("swiglu", call, 2, 1); }
void note(const on::SwigluBackward& call) {
  note_elementwise("swiglu backward", call, 3, call.hidden == nullptr ? 2 : 3);
}
void note(const on::ClampedSwiglu& call) { note_elementwise("clamped swiglu", call, 2, 1); }
void note(const on::ClampedSwigluBackward& call) { note_elementwise("clamped swiglu backward", call, 3, 2); }
void note(const on::Gelu& call) { note_elementwise("gelu", call, 1, 1); }
void note(const on::GeluBackward& call) { note_elementwise("gelu backward", call, 2, 1); }
void note(const on::CopyRows& call) {
  const int64_t bytes = bytes_of(call.element);
  record_launch(
      "rows copied",
      {{{call.rows, call.width}, bytes, false}, {{call.rows}, kIndex, false}, {{call.rows, call.width}, bytes, true}});
}
void note(const on::AddWeightedRows& call) {
  const int64_t bytes = bytes_of(call.element);
  record_launch("rows combined", {{{call.rows, call.width}, bytes, false},
                                  {{call.tokens, call.choices}, kIndex, false},
                                  {{call.tokens, call.choices}, bytes, false},
                                  {{call.tokens, call.width}, bytes, true}});
}
void note(const on::WeightedRowsBackward& call) {
  const int64_t bytes = bytes_of(call.element);
  const std::vector<int64_t> all{call.rows, call.width}, each{call.rows};
  record_launch("rows combined, backward", {{all, bytes, false},
                                            {all, bytes, false},
                                            {each, bytes, false},
                                            {each, kIndex, false},
                                            {each, kIndex, false},
                                            {all, bytes, true},
                                            {each, bytes, true}});
}
void note(const on::SortChoices& call) {
  const std::vector<int64_t> all{call.choices};
  record_launch("choices sorted", {{all, kIndex, false},
                                   {all, kIndex, false},
                                   {all, kIndex, true},
                                   {all, kIndex, true},
                                   {all, kIndex, true},
                                   {{call.experts}, kCount, true}});
}
void note(const on::ZeroIdleGroups& call) {
  record_launch("idle groups zeroed", {{{call.groups}, kCount, false}, {{1}, kCount, true}});  // where none is idle
}
void note(const on::LargestK& call) {
  const int64_t bytes = bytes_of(call.element);
  record_launch("largest k", {{{call.rows, call.columns}, bytes, false},
                              {{call.rows, call.columns}, bytes, false},
                              {{call.rows, call.k}, kIndex, true}});
}
void note(const on::KeepMask& call) { record_launch("mask drawn", {{{call.count}, 1, true}}); }
void note(const on::Uniform& call) { record_launch("numbers drawn", {{{call.count}, 8, true}}); }

template <auto kField, class Call>
const char* run(const Call& told, DeviceStream) {
  finish(current_stream());
  if (records_launches()) note(told);
  Call own = told;
  own.addresses([]<class Number>(Number*& address) {
    if (address == nullptr) return;
    if (current_stream() == kDefaultStream) note_use(address, tick());
    address = static_cast<Number*>(alias_of(address));
  });
  return (parallel::compiled_kernels()->*kField)(own, {});
}

DeviceKernels over_alias() {
  DeviceKernels all = *parallel::compiled_kernels();
  all.swiglu = run<&DeviceKernels::swiglu>;
  all.swiglu_backward = run<&DeviceKernels::swiglu_backward>;
  all.clamped_swiglu = run<&DeviceKernels::clamped_swiglu>;
  all.clamped_swiglu_backward = run<&DeviceKernels::clamped_swiglu_backward>;
  all.gelu = run<&DeviceKernels::gelu>;
  all.gelu_backward = run<&DeviceKernels::gelu_backward>;
  all.copy_rows = run<&DeviceKernels::copy_rows>;
  all.add_weighted_rows = run<&DeviceKernels::add_weighted_rows>;
  all.weighted_rows_backward = run<&DeviceKernels::weighted_rows_backward>;
  all.sort_choices = run<&DeviceKernels::sort_choices>;
  all.zero_idle_groups = run<&DeviceKernels::zero_idle_groups>;
  all.largest_k = run<&DeviceKernels::largest_k>;
  all.keep_mask = run<&DeviceKernels::keep_mask>;
  all.uniform = run<&DeviceKernels::uniform>;
  return all;
}

}  // namespace
}  // namespace strict

namespace parallel {

const DeviceKernels* cuda_kernels() {
  // As where nvcc was not there: LibTorch's operations alone.
  static const char* const told = std::getenv("STRICT_DEVICE_KERNELS");
  static const DeviceKernels all = strict::over_alias();
  return told != nullptr && std::string_view(told) == "none" ? nullptr : &all;
}

}  // namespace parallel
