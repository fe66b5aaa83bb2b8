// defines: GradientBucket: gradients that travel together, and with sharding the part of them that this rank updates
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "parallel/autograd/gradient_place.h"
#include "parallel/comm/communicator.h"
#include "parallel/mesh/placement.h"

namespace parallel {

/// The dtype in which gradients are summed: float32, float64 for float64 parameters.
at::ScalarType gradient_type(const at::Tensor& parameter);

/// One flat tensor of the gradients of some parameters, which share one group. Parameters go by their number here.
class GradientBucket {
 public:
  /// parameters: as they lie. cut: elements of each rank's part; without sharding nothing is cut. With it the
  /// parameters' data move into a flat buffer.
  GradientBucket(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group, RowCounts cut,
                 Sharding sharding);

  const Communicator& group() const { return *group_; }
  int64_t elements() const { return elements_; }
  /// Where each parameter lies.
  const std::vector<ElementRange>& places() const { return places_; }
  /// The elements of parameter k, flattened, that this rank updates.
  const ElementRange& owned(size_t k) const { return owned_[k]; }

  /// Forgets the gradients of the round before, and gives their memory back: the next is taken when backward comes to
  /// the first of them.
  void zero();
  /// The place of parameter k, for the first gradient of a round; undefined where one has come, where the place was
  /// taken before, or where it is of a type that whoever asks does not write. Whoever takes it lets go of it before
  /// another gradient of k is collected, and before the next round: InternalError.
  at::Tensor take(size_t k, GradientWidth width);
  /// Takes over the gradient of parameter k where backward has not added it in place.
  void collect(size_t k);
  /// Zeros for parameters that no loss reached.
  void end_round();
  /// Sums `count` elements from `begin` on over the group. Collective.
  [[nodiscard]] Work reduce(int64_t begin, int64_t count);
  /// Once all of it is reduced, and waited for.
  void finish_reduction();
  /// Every rank gets what the others own of the parameters. Collective. @pre sharding
  [[nodiscard]] Work gather_parameters();

  /// What is left after the reduction, until the next round: parameter k's in its shape, with sharding the owned
  /// elements as a column (a vector for a vector), so that an optimizer still sees that they are part of a matrix.
  at::Tensor gradient(size_t k) const;
  /// The same elements of the parameter itself, in the same shape.
  at::Tensor owned_part(size_t k) const;
  /// Bytes that stay between the micro-batches of an update.
  int64_t kept_bytes() const;

 private:
  bool sharded() const { return sharding_ != Sharding::kNone; }
  at::TensorOptions options() const;
  void place_parameter(size_t k);
  void open();
  void close();
  void add_in_place(size_t k);
  void check_let_go(size_t k) const;

  std::vector<at::Tensor> parameters_;
  std::shared_ptr<Communicator> group_;
  RowCounts cut_;
  Sharding sharding_;
  std::vector<ElementRange> places_, owned_;
  std::vector<bool> awaited_;  // parameters whose place still holds what was there before this round
  using Held = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  std::vector<std::optional<Held>> taken_;  // places that somebody has been given this round
  int64_t elements_ = 0;
  ElementRange own_;            // all of it but for sharding
  at::Tensor flat_;             // gradients; undefined where none has come, or only the own part of their sum is left
  at::Tensor part_;             // the own part of their sum, with sharding; undefined where none has come
  at::Tensor arriving_;         // what a reduction brings for it
  at::Tensor parameters_flat_;  // the parameters' data, with sharding
};

}  // namespace parallel
