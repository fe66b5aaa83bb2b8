// What a GPU would be given to do.
// defines: Touched, record_launch, records_launches
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>
#include <utility>
#include <vector>

namespace strict {

/// Memory that a kernel reads or writes; of what it does both to, one of each.
struct Touched {
  /// A dimension without a stride is one element, however often it is read. Nothing of an undefined tensor.
  Touched(const at::Tensor& tensor, bool is_written);
  Touched(std::vector<int64_t> all_sizes, int64_t bytes, bool is_written)
      : sizes(std::move(all_sizes)), element_bytes(bytes), written(is_written) {}

  std::vector<int64_t> sizes;
  int64_t element_bytes = 0;
  bool written;
};

/// Notes one kernel, where STRICT_DEVICE_LAUNCHES=FILE asks for it: a JSON line in FILE.<process> with the operation,
/// the sizes of what it touches, and whether it is backward's. What only makes a view is none.
void record_launch(std::string_view operation, const std::vector<Touched>& touched);

/// Whether somebody wants to know.
bool records_launches();

}  // namespace strict
