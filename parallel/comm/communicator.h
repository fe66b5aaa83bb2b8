// defines: Communicator, ReduceOp: collective operations over a group of ranks; check_reducible, check_gatherable
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "parallel/comm/work.h"

namespace parallel {

enum class ReduceOp { kSum, kMax };

/// A group of ranks. Every rank of the group issues the same operations in the same order, with the same shapes and
/// dtypes; a rank that has nothing to say sends zeros. Tensors are contiguous and of the communicator's device.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  /// In place: every rank ends with the reduction of all ranks' tensors. float32, float64, int64.
  [[nodiscard]] virtual Work all_reduce(at::Tensor tensor, ReduceOp op) = 0;

  /// gathered[r] = rank r's `part`. @pre gathered.sizes() == {size(), part.sizes()...}
  [[nodiscard]] virtual Work all_gather(at::Tensor gathered, at::Tensor part) = 0;

  /// A second communicator over the same ranks: another traffic class, ordered apart from this one. Collective.
  virtual std::shared_ptr<Communicator> duplicate() = 0;

  /// One communicator for each color, ranks ordered by key (ties: by rank here). Collective.
  virtual std::shared_ptr<Communicator> split(int64_t color, int64_t key) = 0;
};

/// What every communicator demands of its tensors, the group of one too: a fault must not depend on the layout.
void check_reducible(const at::Tensor& tensor);
void check_gatherable(const at::Tensor& gathered, const at::Tensor& part, int64_t ranks);

}  // namespace parallel
