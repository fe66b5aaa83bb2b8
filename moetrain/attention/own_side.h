// defines: OwnSide, KeyValueCache: where the places of an attention to its own side stand, and which see which
#pragma once
#include "moetrain/attention/attention_product.h"
#include "moetrain/attention/attention_shape.h"
#include "moetrain/attention/rotary.h"
#include "moetrain/layers/sequences.h"

namespace moetrain {

// S sequences, G key/value heads, C places that there is room for, L places of the longest sequence, d head width

/// Sequences may be of unequal lengths. Room is made once, where it is known how much is needed, else doubled when it
/// is full; what has been decoded is not copied for each place.
class KeyValueCache {
 public:
  KeyValueCache() = default;
  /// Room for so many places of each sequence, made when the first ones come.
  explicit KeyValueCache(int64_t room) : room_(room) {}

  /// Places of each sequence; of an empty cache none.
  const std::vector<int64_t>& lengths() const { return lengths_; }
  /// Of the longest sequence; 0: it is empty.
  int64_t length() const { return length_; }
  bool uniform() const { return uniform_; }
  /// What it has room for.
  int64_t bytes() const;

  /// Adds places, the first ones of each sequence or one more of each, and gives back all in their stead: views of
  /// what is kept, [S, G, L, d], finite past a sequence's end.
  void extend(at::Tensor& key_SGLd, at::Tensor& value_SGLd, const Sequences& sequences);
  /// bool [S, 1, 1, L]: those of each sequence, or the last `window` of them where it is above 0.
  at::Tensor seen_S11L(int64_t window) const;
  /// The sequences become these of them, int64 [R], on the cache's device.
  void keep(const at::Tensor& row_R);

 private:
  void make_room(at::Tensor& kept_SGCd, const at::Tensor& like_SGLd, int64_t places) const;
  void add_next(const at::Tensor& new_SG1d, at::Tensor& kept_SGCd) const;
  void count(std::vector<int64_t> lengths);

  int64_t room_ = 0, length_ = 0;
  bool uniform_ = true;
  std::vector<int64_t> lengths_;
  at::Tensor key_SGCd_, value_SGCd_;
};

/// Queries look at the keys of their own sequence: all, or (causal) those up to their own place, or of these the
/// window.
class OwnSide {
 public:
  OwnSide(const AttentionShape& shape, const at::TensorOptions& options);

  struct Heads {
    at::Tensor query_SHLd, key_SGLd, value_SGLd;
  };
  /// Queries and keys are turned to their places, which follow those in the cache (one place a sequence, or an empty
  /// cache), where there is one; keys and values are added to it. What queries see of the values, [S, H, L, d], is the
  /// product's. The bias is PositionBias' for these places, of each sequence or of all; undefined: none.
  at::Tensor mix(Heads heads, const AttentionProduct& product, const Sequences& sequences, KeyValueCache* cache,
                 const at::Tensor& bias_1HLK) const;

 private:
  /// bool [L, L]: a token, and the window - 1 before it. @pre causal
  at::Tensor seen_in_window(int64_t length, at::Device device) const;
  /// The next place of each sequence, to the places before it.
  at::Tensor mix_next(const Heads& heads, const AttentionProduct& product, const KeyValueCache& cache,
                      const at::Tensor& bias_1HLK) const;

  AttentionShape shape_;
  Rotary rotary_;
};

}  // namespace moetrain
