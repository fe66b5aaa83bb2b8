// Making, viewing and copying the strict device's tensors.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <cstring>
#include <optional>
#include <utility>

#include "tests/strict_device/kernels.h"
#include "tests/strict_device/launches.h"
#include "tests/strict_device/memory.h"
#include "tests/strict_device/streams.h"
#include "tests/strict_device/waits.h"

namespace strict {
namespace {

const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> type,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return device_empty(sizes, strides, c10::dtype_or_default(type));
}

at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &device_allocator(), kKeys, c10::dtype_or_default(type), format);
}

const at::Tensor& resize_(const at::Tensor& tensor, at::IntArrayRef sizes, std::optional<at::MemoryFormat>) {
  auto* impl = tensor.unsafeGetTensorImpl();
  const size_t bytes =
      (static_cast<size_t>(c10::multiply_integers(sizes)) + static_cast<size_t>(tensor.storage_offset())) *
      tensor.element_size();
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    c10::DataPtr wider = device_allocator().allocate(bytes);
    if (storage->nbytes() > 0) std::memcpy(alias_of(wider.get()), alias_of(storage->data()), storage->nbytes());
    storage->set_data_ptr(std::move(wider));
    storage->set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(sizes);
  return tensor;
}

at::Scalar local_scalar_dense(const at::Tensor& tensor) {
  count_wait("item");
  host_waits(current_stream());
  return kernel_view(tensor).item();
}

/// What another stream reads or writes must be behind what made it.
void check_behind(const at::Tensor& tensor) {
  const void* place = tensor.storage().data();
  TORCH_CHECK(last_use(place) <= seen_by(current_stream()),
              "strict device: a copy on another stream does not wait for what made, or last used, its memory");
}

/// A copy to the device that claims to be asynchronous may read its source until the host has waited.
void expect_unchanged(const at::Tensor& source) {
  issue_arrival([source, kept = source.clone(at::MemoryFormat::Contiguous)] {
    const at::Tensor now = source.contiguous();
    TORCH_CHECK(std::memcmp(now.const_data_ptr(), kept.const_data_ptr(), kept.nbytes()) == 0,
                "strict device: the host wrote to the source of a copy to the device, of shape ", source.sizes(),
                ", before that copy was over");
    return true;
  });
}

at::Tensor& copy_(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  if (to.numel() == 0 || to.unsafeGetTensorImpl() == from.unsafeGetTensorImpl()) return to;
  if (on_device(to) && on_device(from)) {
    check_behind(to);
    check_behind(from);
    record_launch("copy", {{from, false}, {to, true}});
    // Of addresses, as a kernel has them: who holds the tensors is not the stream's business.
    issue(current_stream(), [place = kernel_view(to), source = kernel_view(from)]() mutable {
      place.copy_(source);
      return true;
    });
    return to;
  }
  finish(current_stream());
  const at::Tensor& host = on_device(to) ? from : to;
  const char* direction = on_device(to) ? "copy to the device" : "copy to the host";
  TORCH_CHECK(host.device().is_cpu(), "strict device: a copy from or to ", host.device());
  if (non_blocking) {
    TORCH_CHECK(is_pinned(host.const_data_ptr()), "strict device: a ", direction, " of ", host.sizes(),
                " is to go on while the host does, but its memory is pageable");
    pinned_travels(host.const_data_ptr());
  } else {
    count_wait(direction);
    host_waits(current_stream());
  }
  if (on_device(to)) {
    kernel_view(to).copy_(from.expand_as(to));
    if (non_blocking) expect_unchanged(from);
  } else if (!non_blocking) {
    to.copy_(kernel_view(from).expand_as(to));
  } else {
    // It arrives when the host has waited: what it holds until then are no numbers.
    const at::Tensor kept = kernel_view(from).clone();
    std::memset(to.mutable_data_ptr(), 0xFF, to.nbytes());
    const at::Tensor arriving = to;
    issue_arrival([arriving, kept] {
      arriving.copy_(kept.expand_as(arriving));
      return true;
    });
  }
  return to;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  at::Tensor place = to;
  return copy_(place, from, non_blocking);
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  at::Tensor place = to;
  if (to.sizes() != from.sizes()) place.resize_(from.sizes());
  return copy_(place, from, false);
}

at::Tensor& set_storage(at::Tensor& tensor, at::Storage source, int64_t offset, at::IntArrayRef sizes,
                        at::IntArrayRef strides) {
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
  tensor.unsafeGetTensorImpl()->set_storage_offset(offset);
  if (strides.empty() && !sizes.empty()) {
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  } else {
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides);
  }
  return tensor;
}

at::Tensor& set_tensor(at::Tensor& tensor, const at::Tensor& source) {
  return set_storage(tensor, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

void refuse_record_stream(at::Tensor&, at::Stream) {
  TORCH_CHECK(false, "strict device: record_stream hides who waits for whom");
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("view", TORCH_FN(at::native::view));
  library.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  library.impl("unfold", TORCH_FN(at::native::unfold));
  library.impl("resize_", TORCH_FN(resize_));
  library.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage));
  library.impl("set_.source_Tensor", TORCH_FN(set_tensor));
  library.impl("_local_scalar_dense", TORCH_FN(local_scalar_dense));
  library.impl("copy_", TORCH_FN(copy_));
  library.impl("_copy_from", TORCH_FN(copy_from));
  library.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  library.impl("record_stream", TORCH_FN(refuse_record_stream));
}

}  // namespace

/// The same elements for the device's own kernels.
at::Tensor kernel_view(const at::Tensor& tensor) {
  if (current_stream() == kDefaultStream) note_use(tensor.storage().data(), tick());
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), tensor.options().device(at::kCPU));
  const c10::Storage& storage = tensor.storage();
  c10::Storage there(c10::Storage::use_byte_size_t(), storage.nbytes(),
                     c10::DataPtr(alias_of(storage.data()), c10::Device(at::kCPU)), nullptr, /*resizable=*/false);
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(
      std::move(there), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
  result.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return result;
}

at::Tensor device_empty(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type) {
  return at::detail::empty_strided_generic(sizes, strides, &device_allocator(), kKeys, type);
}

/// A kernel's own result, which lies on the host.
at::Tensor brought(const at::Tensor& result) {
  if (!result.defined() || !result.device().is_cpu()) return result;
  at::Tensor there = device_empty(result.sizes(), result.strides(), result.scalar_type());
  if (result.numel() > 0) {
    const size_t bytes = at::detail::computeStorageNbytes(result.sizes(), result.strides(), result.element_size());
    std::memcpy(alias_of(there.mutable_data_ptr()), result.const_data_ptr(), bytes);
  }
  return there;
}

}  // namespace strict
