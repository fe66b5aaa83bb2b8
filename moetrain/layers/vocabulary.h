// defines: Vocabulary: lookups and softmax over a vocabulary whose rows a tensor group shares
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "parallel/autograd/token_parts.h"
#include "parallel/mesh/mesh.h"

namespace moetrain {

// V tokens of the vocabulary, W of them on this rank; C and G tokens of a text

/// This rank's rows of a vocabulary: contiguous parts over the tensor group, as even as can be, without padding. What
/// is summed over the vocabulary is all-reduced over the group, outside autograd; a group of one exchanges nothing.
class Vocabulary {
 public:
  /// All on this rank.
  explicit Vocabulary(int64_t size) : Vocabulary(size, nullptr) {}
  /// UserError where the group has more ranks than the vocabulary tokens.
  Vocabulary(int64_t size, std::shared_ptr<const parallel::Mesh> mesh);

  int64_t size() const { return size_; }
  int64_t first() const { return first_; }
  int64_t count() const { return count_; }  // W
  int64_t ranks() const { return mesh_ != nullptr ? mesh_->shape().tensor : 1; }
  /// Of the group, the one that reports what all of its ranks know.
  bool reports() const { return mesh_ == nullptr || mesh_->place().tensor == 0; }
  /// How the ranks share the group's tokens.
  parallel::TokenParts parts(int64_t tokens) const;

  /// Rows of [W, D] for ids_G -> [G, D], zeros for tokens of other ranks; differentiable.
  at::Tensor embed(const at::Tensor& ids_G, const at::Tensor& weight_WD) const;

  /// An id -> its column on this rank; 0 where another rank has it, which elsewhere() tells.
  at::Tensor column(const at::Tensor& ids) const;
  at::Tensor elsewhere(const at::Tensor& ids) const;  // bool; undefined where this rank has all

  /// Of rows of logits, over all V.
  struct CrossEntropy {
    at::Tensor nll_C, mean_log_p_C;  // of the target, -log p; of all, undefined without smoothing
    at::Tensor correct_C;            // bool: no logit is above the target's
  };

  // Collective over the group, without gradient:
  /// Logits, contiguous and on the processor in float32 or float64, are overwritten: with gradient by p - target, what
  /// cross-entropy with `smoothing` of its targets has for gradient. column_C1 and elsewhere_C1: of the targets' ids.
  CrossEntropy cross_entropy_(at::Tensor& logits_CW, const at::Tensor& column_C1, const at::Tensor& elsewhere_C1,
                              double smoothing, bool gradient) const;
  /// [C, W] -> [C, W], this rank's columns of the logarithm of the softmax over all V.
  at::Tensor log_softmax(const at::Tensor& logits_CW) const;
  /// [C, W] -> [C, 1], over all V
  at::Tensor sum(const at::Tensor& terms_CW) const;
  /// [C, W] -> [C, 1], likewise
  at::Tensor largest(const at::Tensor& terms_CW) const;
  /// [C], from each rank a summand -> their sum
  at::Tensor total(const at::Tensor& own) const;

 private:
  int64_t size_ = 0, first_ = 0, count_ = 0;
  std::shared_ptr<const parallel::Mesh> mesh_;  // null where this rank has all
};

}  // namespace moetrain
