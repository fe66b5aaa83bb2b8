#include "moetrain/attention/own_side.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/base/fault.h"

namespace moetrain {

void KeyValueCache::extend(at::Tensor& new_key_SGLd, at::Tensor& new_value_SGLd) {
  if (length() > 0) {
    new_key_SGLd = at::cat({key_SGLd, new_key_SGLd}, 2);
    new_value_SGLd = at::cat({value_SGLd, new_value_SGLd}, 2);
  }
  key_SGLd = new_key_SGLd;
  value_SGLd = new_value_SGLd;
}

OwnSide::OwnSide(const AttentionShape& shape, const at::TensorOptions& options)
    : shape_(shape), rotary_(rope_frequencies(shape.options, shape.head_width(), shape.rope_theta), options) {}

at::Tensor OwnSide::mix(Heads heads, const AttentionProduct& product, const Sequences& sequences, KeyValueCache* cache,
                        const at::Tensor& bias_1HLK) const {
  const int64_t past = cache != nullptr ? cache->length() : 0;
  parallel::check_internal(past == 0 || sequences.longest() == 1, "OwnSide: ", sequences.longest(),
                           " places after a cache of ", past, "; one at a time");
  auto& [query_SHLd, key_SGLd, value_SGLd] = heads;
  if (shape_.rotary) {
    query_SHLd = rotary_.rotate(query_SHLd, past);
    key_SGLd = rotary_.rotate(key_SGLd, past);
  }
  if (cache != nullptr) cache->extend(key_SGLd, value_SGLd);
  // Padding follows a sequence, so a causal token never sees it; its own rows are thrown away.
  AttentionMask mask{.causal = shape_.causal && past == 0, .bias_1HLK = bias_1HLK};
  if (!shape_.causal && !sequences.uniform()) mask.seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  const int64_t keys = key_SGLd.size(2);
  if (shape_.window > 0 && keys > shape_.window) {
    if (past > 0) {  // one place, which is the last
      key_SGLd = key_SGLd.narrow(2, keys - shape_.window, shape_.window);
      value_SGLd = value_SGLd.narrow(2, keys - shape_.window, shape_.window);
      if (bias_1HLK.defined()) mask.bias_1HLK = bias_1HLK.narrow(3, keys - shape_.window, shape_.window);
    } else {
      mask = {.seen = seen_in_window(keys, key_SGLd.device()), .bias_1HLK = bias_1HLK};
    }
  }
  return product.of(query_SHLd, key_SGLd, value_SGLd, mask);
}

at::Tensor OwnSide::seen_in_window(int64_t length, at::Device device) const {
  const at::Tensor all_LL = at::ones({length, length}, at::TensorOptions(at::kBool).device(device));
  return all_LL.tril().triu(1 - shape_.window);
}

}  // namespace moetrain
