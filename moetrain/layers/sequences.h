// defines: Sequences: where each token of a packed batch stands
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "moetrain/config/layer_kinds.h"

namespace moetrain {

// S sequences, L the longest, T tokens of all of them, D width

/// Sequences that lie one after another in [T, ...] tensors, without padding: layers that see each token alone compute
/// on nothing else. Attention pads and unpads around its own product. Cheap to copy.
class Sequences {
 public:
  /// @pre every length is at least 1
  Sequences(std::vector<int64_t> lengths, at::Device device);
  static Sequences uniform(int64_t count, int64_t length, at::Device device);

  int64_t count() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t longest() const { return longest_; }
  int64_t tokens() const { return tokens_; }
  int64_t first_token(int64_t sequence) const;  // of all S + 1, the last being tokens()
  bool uniform() const { return tokens_ == count() * longest_; }
  const std::vector<int64_t>& lengths() const { return lengths_; }
  at::Device device() const { return device_; }

  at::Tensor sequence_T() const;  // int64, CPU: the number of each token's sequence, from 0

  /// [T, D] -> [S, L, D], zeros past a sequence's end; a view where all lengths are equal.
  at::Tensor pad(const at::Tensor& x_TD) const;
  /// [S, L, D] -> [T, D]
  at::Tensor unpad(const at::Tensor& x_SLD) const;
  /// [T, D] -> [S, D]
  at::Tensor pooled(const at::Tensor& x_TD, Pool pool) const;
  /// bool [S, L], false past a sequence's end; on the device.
  const at::Tensor& there_SL() const { return there_SL_; }

 private:
  std::vector<int64_t> lengths_;
  at::Device device_;
  int64_t longest_ = 0, tokens_ = 0;
  at::Tensor slot_T_;    // place of each token in [S * L]; undefined where all lengths are equal
  at::Tensor there_SL_;  // likewise
};

}  // namespace moetrain
