#include "moetrain/attention/own_side.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {

void KeyValueCache::count(std::vector<int64_t> lengths) {
  lengths_ = std::move(lengths);
  const auto [least, most] = std::ranges::minmax_element(lengths_);
  length_ = lengths_.empty() ? 0 : *most;
  uniform_ = lengths_.empty() || *least == *most;
}

int64_t KeyValueCache::bytes() const {
  return key_SGCd_.defined() ? static_cast<int64_t>(key_SGCd_.nbytes() + value_SGCd_.nbytes()) : 0;
}

// Zeros, for the places past a sequence's end are multiplied by a share of 0.
void KeyValueCache::make_room(at::Tensor& kept_SGCd, const at::Tensor& like_SGLd, int64_t places) const {
  at::Tensor room_SGCd =
      at::zeros({like_SGLd.size(0), like_SGLd.size(1), places, like_SGLd.size(3)}, like_SGLd.options());
  if (length_ > 0) room_SGCd.narrow(2, 0, length_).copy_(kept_SGCd.narrow(2, 0, length_));
  kept_SGCd = std::move(room_SGCd);
}

void KeyValueCache::add_next(const at::Tensor& new_SG1d, at::Tensor& kept_SGCd) const {
  if (!parallel::is_accelerator(new_SG1d.device()) && new_SG1d.stride(3) == 1) {
    const auto size = static_cast<int64_t>(new_SG1d.element_size()), row = new_SG1d.size(3) * size;
    const auto* from = static_cast<const char*>(new_SG1d.const_data_ptr());
    auto* to = static_cast<char*>(kept_SGCd.mutable_data_ptr());
    for (int64_t s = 0; s < new_SG1d.size(0); ++s) {
      for (int64_t g = 0; g < new_SG1d.size(1); ++g) {
        const int64_t place =
            s * kept_SGCd.stride(0) + g * kept_SGCd.stride(1) + lengths_[static_cast<size_t>(s)] * kept_SGCd.stride(2);
        std::memcpy(to + place * size, from + (s * new_SG1d.stride(0) + g * new_SG1d.stride(1)) * size,
                    static_cast<size_t>(row));
      }
    }
    return;
  }
  if (uniform_) {
    kept_SGCd.narrow(2, length_, 1).copy_(new_SG1d);
    return;
  }
  for (size_t s = 0; s < lengths_.size(); ++s) {
    const auto row = static_cast<int64_t>(s);
    kept_SGCd.select(0, row).narrow(1, lengths_[s], 1).copy_(new_SG1d.select(0, row));
  }
}

void KeyValueCache::extend(at::Tensor& key_SGLd, at::Tensor& value_SGLd, const Sequences& sequences) {
  const int64_t added = key_SGLd.size(2), wanted = length_ + added;
  parallel::check_internal(length_ == 0 || (added == 1 && key_SGLd.size(0) == std::ssize(lengths_)),
                           "KeyValueCache: ", key_SGLd.size(0), " sequences of ", added, " places after ",
                           lengths_.size(), " of ", length_);
  if (!key_SGCd_.defined() || key_SGCd_.size(2) < wanted) {
    const int64_t places = length_ == 0 ? std::max(room_, wanted) : std::max(2 * length_, wanted);
    make_room(key_SGCd_, key_SGLd, places);
    make_room(value_SGCd_, value_SGLd, places);
  }
  if (length_ == 0) {
    key_SGCd_.narrow(2, 0, added).copy_(key_SGLd);
    value_SGCd_.narrow(2, 0, added).copy_(value_SGLd);
    count(sequences.lengths());
  } else {
    add_next(key_SGLd, key_SGCd_);
    add_next(value_SGLd, value_SGCd_);
    for (int64_t& length : lengths_) ++length;
    ++length_;
  }
  key_SGLd = key_SGCd_.narrow(2, 0, length_);
  value_SGLd = value_SGCd_.narrow(2, 0, length_);
}

at::Tensor KeyValueCache::seen_S11L(int64_t window) const {
  const at::Tensor end_S1 = at::tensor(lengths_, at::kLong).unsqueeze(1);
  const at::Tensor place_1L = at::arange(length_, at::kLong).unsqueeze(0);
  at::Tensor seen_SL = place_1L < end_S1;
  if (window > 0) seen_SL = seen_SL.logical_and(place_1L >= end_S1 - window);
  return seen_SL.unsqueeze(1).unsqueeze(1).to(key_SGCd_.device());
}

void KeyValueCache::keep(const at::Tensor& row_R) {
  if (length_ == 0) return;
  key_SGCd_ = key_SGCd_.index_select(0, row_R);
  value_SGCd_ = value_SGCd_.index_select(0, row_R);
  std::vector<int64_t> lengths;
  const at::Tensor on_host_R = row_R.to(at::kCPU);
  for (int64_t r = 0; r < row_R.numel(); ++r) {
    lengths.push_back(lengths_[static_cast<size_t>(on_host_R.const_data_ptr<int64_t>()[r])]);
  }
  count(std::move(lengths));
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
    query_SHLd = past > 0 ? rotary_.rotate_next(query_SHLd, cache->lengths()) : rotary_.rotate(query_SHLd, 0);
    key_SGLd = past > 0 ? rotary_.rotate_next(key_SGLd, cache->lengths()) : rotary_.rotate(key_SGLd, 0);
  }
  if (cache != nullptr) cache->extend(key_SGLd, value_SGLd, sequences);
  if (past > 0) return mix_next(heads, product, *cache, bias_1HLK);
  // Padding follows a sequence, so a causal token never sees it; its own rows are thrown away.
  AttentionMask mask{.causal = shape_.causal, .bias_1HLK = bias_1HLK};
  if (!shape_.causal && !sequences.uniform()) mask.seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  const int64_t keys = key_SGLd.size(2);
  if (shape_.window > 0 && keys > shape_.window) {
    mask = {.seen = seen_in_window(keys, key_SGLd.device()), .bias_1HLK = bias_1HLK};
  }
  return product.of(query_SHLd, key_SGLd, value_SGLd, mask);
}

at::Tensor OwnSide::mix_next(const Heads& heads, const AttentionProduct& product, const KeyValueCache& cache,
                             const at::Tensor& bias_1HLK) const {
  if (!bias_1HLK.defined()) {
    const at::Tensor mixed_SH1d =
        product.of_next(heads.query_SHLd, heads.key_SGLd, heads.value_SGLd, cache.lengths(), shape_.window);
    if (mixed_SH1d.defined()) return mixed_SH1d;
  }
  const int64_t keys = cache.length();
  const int64_t unseen =
      shape_.window > 0 ? std::max<int64_t>(0, std::ranges::min(cache.lengths()) - shape_.window) : 0;
  const auto of_seen = [&](const at::Tensor& x, int64_t dim) { return x.narrow(dim, unseen, keys - unseen); };
  AttentionMask mask;
  if (!cache.uniform()) mask.seen = of_seen(cache.seen_S11L(shape_.window), 3);
  if (bias_1HLK.defined()) mask.bias_1HLK = of_seen(bias_1HLK, 3);
  return product.of(heads.query_SHLd, of_seen(heads.key_SGLd, 2), of_seen(heads.value_SGLd, 2), mask);
}

at::Tensor OwnSide::seen_in_window(int64_t length, at::Device device) const {
  const at::Tensor all_LL = at::ones({length, length}, at::TensorOptions(at::kBool).device(device));
  return all_LL.tril().triu(1 - shape_.window);
}

}  // namespace moetrain
