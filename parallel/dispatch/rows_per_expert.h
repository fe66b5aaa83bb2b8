// defines: RowsPerExpert: how many rows each expert has, on the host or on a device
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace parallel {

/// How many rows each of E experts has, of rows sorted by expert. Where no rank but this one had to be told, what a
/// device counted stays there: kernels read its ends, and the host waits for the numbers only if it asks for them.
/// Copies share what one of them has learned. Not for several threads at once.
class RowsPerExpert {
 public:
  RowsPerExpert() : RowsPerExpert(std::vector<int64_t>()) {}
  RowsPerExpert(std::vector<int64_t> on_host);  // NOLINT: such a list is one
  /// end_E: int32 on a device, behind the last row of each expert; `rows`: of the tensors, at least the last end.
  RowsPerExpert(at::Tensor end_E, int64_t rows);

  int64_t experts() const;
  /// Of tensors that hold them: those of all experts, or as many as there may be where the host was not told. What lies
  /// behind the experts' rows is nobody's, and holds anything.
  int64_t rows() const;
  /// Whether the host was told.
  bool known() const;
  /// In turn. The first time, where the host was not told, it waits for the device.
  const std::vector<int64_t>& on_host() const;
  /// int32 [E] on that device, behind each expert's last row; sent there once. Does not wait.
  at::Tensor ends(at::Device device) const;
  /// Where each row counts so often.
  RowsPerExpert times(int64_t factor) const;

 private:
  struct Known;
  std::shared_ptr<Known> known_;
};

}  // namespace parallel
