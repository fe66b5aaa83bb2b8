// defines: LossTerm, LossTerms: named losses as return values
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace moetrain {

/// One named, weighted loss. `share` is this rank's share of a loss of the global batch: the sum of the shares over
/// the ranks is the loss, and the sum of their gradients its gradient. Sums cross the wire, never means.
struct LossTerm {
  std::string name;
  at::Tensor share;  // scalar, weight included
};

class LossTerms {
 public:
  void add(std::string name, at::Tensor share);
  /// Appends `other`; a name that is there already is added up (layers, micro-batches).
  void add_all(const LossTerms& other);
  /// This rank's share of the total; what backward starts from. @pre not empty
  at::Tensor sum() const;
  /// The same terms without their graphs.
  LossTerms detached() const;
  const std::vector<LossTerm>& terms() const { return terms_; }

 private:
  std::vector<LossTerm> terms_;
};

}  // namespace moetrain
