#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/strict_device/kernels.h"
#include "tests/strict_device/launches.h"
#include "tests/strict_device/memory.h"
#include "tests/strict_device/streams.h"
#include "tests/strict_device/waits.h"

namespace strict {
namespace {

/// Operations that on CUDA make the host wait for what they found: a shape, or a truth.
bool waits_on_cuda(const std::string& name, const torch::jit::Stack& arguments) {
  static const std::set<std::string> table{
      "aten::nonzero",     "aten::masked_select",       "aten::bincount",   "aten::_unique",
      "aten::_unique2",    "aten::unique_consecutive",  "aten::unique_dim", "aten::equal",
      "aten::multinomial", "aten::_linalg_check_errors"};
  if (name == "aten::repeat_interleave") return arguments.size() < 2 || arguments.back().isNone();
  if (name == "aten::index" || name == "aten::_index_put_impl_" || name == "aten::index_put_") {
    // A mask is turned into places, whose number the host must know.
    for (const c10::IValue& index : arguments[1].toListRef()) {
      if (index.isTensor() && index.toTensor().defined() &&
          (index.toTensor().scalar_type() == at::kBool || index.toTensor().scalar_type() == at::kByte)) {
        return true;
      }
    }
  }
  return table.contains(name);
}

/// One call of a CPU kernel with a device's arguments.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack& stack) : op_(op), schema_(op.schema()), stack_(stack) {}

  void run() {
    finish(current_stream());  // the kernel is this stream's next step
    const size_t count = schema_.arguments().size(), first = stack_.size() - count;
    const torch::jit::Stack given(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    if (waits_on_cuda(schema_.name(), given)) count_wait(schema_.name().c_str());
    torch::jit::Stack own;
    for (size_t i = 0; i < count; ++i) own.push_back(translated(given[i], i));
    {
      const at::AutoDispatchBelowAutograd below;
      op_.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &own);
    }
    if (records_launches()) record(own);
    for (const Pair& pair : pairs_) follow(pair);
    for (size_t r = 0; r < own.size(); ++r) stack_.push_back(returned(own[r], r, given));
  }

 private:
  struct Pair {
    at::Tensor device, host;
    bool written, read;
  };

  at::Tensor translated(const at::Tensor& tensor, size_t argument) {
    if (!tensor.defined()) return tensor;
    if (!on_device(tensor)) {
      TORCH_CHECK(tensor.device().is_cpu() && tensor.dim() == 0, "strict device: ", schema_.name(), " has a tensor of ",
                  tensor.device(), " of shape ", tensor.sizes(), " among those of the device (",
                  schema_.arguments()[argument].name(), ")");
      return tensor;  // a number, which goes along with the call
    }
    const c10::AliasInfo* info = schema_.arguments()[argument].alias_info();
    const bool overwritten =
        schema_.arguments()[argument].is_out() || schema_.name() == "aten::fill_" || schema_.name() == "aten::zero_";
    pairs_.push_back({tensor, kernel_view(tensor), info != nullptr && info->isWrite(), !overwritten});
    return pairs_.back().host;
  }

  c10::IValue translated(const c10::IValue& value, size_t argument) {
    if (value.isTensor()) return translated(value.toTensor(), argument);
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(translated(each, argument));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const c10::IValue& each : value.toListRef()) {
        list.push_back(each.isNone() ? std::nullopt : std::optional<at::Tensor>(translated(each.toTensor(), argument)));
      }
      return list;
    }
    if (value.isDevice()) return c10::Device(at::kCPU);
    return value;
  }

  void record(const torch::jit::Stack& results) const {
    std::vector<Touched> touched;
    for (const Pair& pair : pairs_) {
      if (pair.read) touched.push_back({pair.host, false});
      if (pair.written) touched.push_back({pair.host, true});
    }
    const auto made = [&](const at::Tensor& result) {
      if (result.defined() && origin(result) == nullptr) touched.push_back({result, true});
    };
    for (const c10::IValue& result : results) {
      if (result.isTensor()) made(result.toTensor());
      if (result.isTensorList()) {
        for (const at::Tensor& each : result.toTensorVector()) made(each);
      }
    }
    record_launch(schema_.name(), touched);
  }

  /// What was made larger, or was empty, is written to a tensor of the kernel's own.
  void follow(const Pair& pair) const {
    if (!pair.written) return;
    const bool moved = pair.host.const_data_ptr() != alias_of_data(pair.device);
    if (!moved && pair.host.sizes() == pair.device.sizes()) return;
    pair.device.resize_(pair.host.sizes());
    if (pair.host.numel() > 0) kernel_view(pair.device).copy_(pair.host);
  }

  static const void* alias_of_data(const at::Tensor& tensor) {
    return tensor.numel() == 0 ? nullptr : alias_of(tensor.const_data_ptr());
  }

  /// The argument of which a result is the same tensor or a view; null where it is new.
  const Pair* origin(const at::Tensor& result) const {
    for (const Pair& pair : pairs_) {
      if (result.unsafeGetTensorImpl() == pair.host.unsafeGetTensorImpl()) return &pair;
    }
    for (const Pair& pair : pairs_) {
      if (result.numel() > 0 && result.storage().data() == pair.host.storage().data()) return &pair;
    }
    return nullptr;
  }

  at::Tensor returned(const at::Tensor& result) const {
    if (!result.defined()) return result;
    const Pair* from = origin(result);
    if (from == nullptr) return brought(result);
    if (result.unsafeGetTensorImpl() == from->host.unsafeGetTensorImpl()) return from->device;
    at::Tensor view =
        at::native::as_strided_tensorimpl(from->device, result.sizes(), result.strides(), result.storage_offset());
    TORCH_CHECK(view.scalar_type() == result.scalar_type(), "strict device: ", schema_.name(),
                " gives a view of another type");
    return view;
  }

  c10::IValue returned(const c10::IValue& value, size_t result, const torch::jit::Stack& given) const {
    if (value.isTensor()) {
      const c10::AliasInfo* info = schema_.returns()[result].alias_info();
      if (info != nullptr && info->isWrite()) {
        for (size_t i = 0; i < given.size(); ++i) {
          const c10::AliasInfo* of_argument = schema_.arguments()[i].alias_info();
          if (of_argument != nullptr && *of_argument == *info) return given[i];
        }
      }
      return returned(value.toTensor());
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(returned(each));
      return list;
    }
    return value;
  }

  const c10::OperatorHandle& op_;
  const c10::FunctionSchema& schema_;
  torch::jit::Stack& stack_;
  std::vector<Pair> pairs_;
};

}  // namespace

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) { Call(op, *stack).run(); }

namespace {

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

}  // namespace

}  // namespace strict
