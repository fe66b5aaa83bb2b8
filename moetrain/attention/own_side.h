// defines: OwnSide, KeyValueCache: where the places of an attention to its own side stand, and which see which
#pragma once
#include "moetrain/attention/attention_product.h"
#include "moetrain/attention/attention_shape.h"
#include "moetrain/attention/rotary.h"
#include "moetrain/layers/sequences.h"

namespace moetrain {

/// Keys and values of the places decoded so far, of one block.
struct KeyValueCache {
  at::Tensor key_SGLd, value_SGLd;  // undefined at first
  int64_t length() const { return key_SGLd.defined() ? key_SGLd.size(2) : 0; }
  /// Adds the new places, and gives back all in their stead.
  void extend(at::Tensor& new_key_SGLd, at::Tensor& new_value_SGLd);
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
  /// product's. The bias is PositionBias' for these places; undefined: none.
  at::Tensor mix(Heads heads, const AttentionProduct& product, const Sequences& sequences, KeyValueCache* cache,
                 const at::Tensor& bias_1HLK) const;

 private:
  /// bool [L, L]: a token, and the window - 1 before it. @pre causal
  at::Tensor seen_in_window(int64_t length, at::Device device) const;

  AttentionShape shape_;
  Rotary rotary_;
};

}  // namespace moetrain
