// defines: AttentionShape, SeenKeys, AttentionInputs, AttentionGradients, attention, attention_backward, NextAttention,
// next_attention
#pragma once
#include <cstdint>

#include "parallel/kernels/bfloat16.h"
#include "parallel/kernels/head_rows.h"

namespace parallel {

// S sequences, H query heads, of which H / G neighbours share one of G key/value heads, L queries, float, double or
// Bfloat16

struct AttentionShape {
  int64_t sequences, query_heads, key_heads, queries, keys;
  int64_t width, value_width;  // of a query or key, of a value
  bool causal;                 // query l sees keys 0 to l
  double scale;                // of the products
};

/// [S, H, L, keys], each stride so many places apart, 0 where it does not matter; null: all are seen.
struct SeenKeys {
  const bool* data = nullptr;
  int64_t by_sequence = 0, by_head = 0, by_query = 0, by_key = 0;
};

template <class Scalar>
struct AttentionInputs {
  HeadRows<const Scalar> query, key, value;
  SeenKeys seen = {};
  const Scalar* sink_H = nullptr;  // of each head a logit without a key, which takes its share; null: none
};

/// out[l] = sum over k of softmax(scale <query[l], key[k]>)[k] value[k], zeros where no key is seen; of each query
/// log_sum [S, H, L], which backward needs. The products of a block of queries with all keys are at hand at once, no
/// more (Dao et al. 2022).
template <class Scalar>
void attention(const AttentionShape& shape, const AttentionInputs<Scalar>& inputs, const HeadRows<Scalar>& out,
               Wide<Scalar>* log_sum_SHL);

template <class Scalar>
struct AttentionGradients {
  HeadRows<Scalar> query, key, value;
  Scalar* sink_SH;  // of each sequence's summand, where there are sinks
};

template <class Scalar>
void attention_backward(const AttentionShape& shape, const AttentionInputs<Scalar>& inputs,
                        const HeadRows<const Scalar>& out, const Wide<Scalar>* log_sum_SHL,
                        const HeadRows<const Scalar>& grad_out, const AttentionGradients<Scalar>& gradients);

/// One query of each sequence, and a cache as it lies there.
template <class Scalar>
struct NextAttention {
  int64_t sequences, query_heads, key_heads, width, value_width;
  HeadRows<const Scalar> query, key, value;  // of the query position 0
  const int64_t* end_S;                      // a sequence's keys are those before it,
  int64_t window;                            // or of these the last `window`, where it is above 0
  double scale;                              // of the products
  const Scalar* sink_H;                      // as AttentionInputs has them
};

/// out[s, h] = sum over k of softmax(scale <query, key[k]>)[k] value[k]. Queries that share a key head go over its
/// keys one after another. @pre each sequence has a key
template <class Scalar>
void next_attention(const NextAttention<Scalar>& all, const HeadRows<Scalar>& out);

}  // namespace parallel
