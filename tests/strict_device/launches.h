// What a GPU would be given to do.
// defines: record_launch, Touched
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

namespace strict {

/// A tensor that a kernel reads or writes; of what it does both to, one of each.
struct Touched {
  at::Tensor tensor;
  bool written;
};

/// Notes one kernel, where STRICT_DEVICE_LAUNCHES=FILE asks for it: a JSON line in FILE.<process> with the operation,
/// the sizes and type of what it touches, and whether it is backward's. What only makes a view is none.
void record_launch(std::string_view operation, const std::vector<Touched>& touched);

/// Whether somebody wants to know.
bool records_launches();

}  // namespace strict
