#include "moetrain/layers/sequences.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {

Sequences::Sequences(std::vector<int64_t> lengths, at::Device device) : lengths_(std::move(lengths)), device_(device) {
  for (const int64_t length : lengths_) parallel::check_internal(length >= 1, "a sequence of ", length, " tokens");
  tokens_ = std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0});
  longest_ = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  if (uniform()) return;
  at::Tensor slot_T = at::empty({tokens_}, at::kLong);
  int64_t* slot = slot_T.mutable_data_ptr<int64_t>();
  for (int64_t s = 0; s < count(); ++s) {
    const int64_t length = lengths_[static_cast<size_t>(s)];
    std::iota(slot, slot + length, s * longest_);
    slot += length;
  }
  slot_T_ = parallel::send(slot_T, device);
  there_SL_ = at::zeros({count() * longest_}, at::TensorOptions(at::kBool).device(device))
                  .index_fill(0, slot_T_, 1)
                  .view({count(), longest_});
}

Sequences Sequences::uniform(int64_t count, int64_t length, at::Device device) {
  return {std::vector<int64_t>(static_cast<size_t>(count), length), device};
}

at::Tensor Sequences::sequence_T() const {
  at::Tensor sequence_T = at::empty({tokens_}, at::kLong);
  int64_t* place = sequence_T.mutable_data_ptr<int64_t>();
  for (int64_t s = 0; s < count(); ++s) place = std::fill_n(place, lengths_[static_cast<size_t>(s)], s);
  return sequence_T;
}

at::Tensor Sequences::pad(const at::Tensor& x_TD) const {
  if (uniform()) return x_TD.view({count(), longest_, x_TD.size(1)});
  const at::Tensor zeros = at::zeros({count() * longest_, x_TD.size(1)}, x_TD.options());
  return zeros.index_copy(0, slot_T_, x_TD).view({count(), longest_, x_TD.size(1)});
}

int64_t Sequences::first_token(int64_t sequence) const {
  return std::accumulate(lengths_.begin(), lengths_.begin() + sequence, int64_t{0});
}

at::Tensor Sequences::pooled(const at::Tensor& x_TD, Pool pool) const {
  const at::Tensor length_S = at::tensor(lengths_, at::kLong);
  if (pool == Pool::kMean) {
    return pad(x_TD).sum(1) / parallel::send(length_S.unsqueeze(1).to(x_TD.scalar_type()), x_TD.device());
  }
  const at::Tensor end_S = length_S.cumsum(0);
  const at::Tensor place_S = pool == Pool::kFirst ? end_S - length_S : end_S - 1;
  return x_TD.index_select(0, parallel::send(place_S, x_TD.device()));
}

at::Tensor Sequences::unpad(const at::Tensor& x_SLD) const {
  const at::Tensor flat = x_SLD.reshape({count() * longest_, x_SLD.size(2)});
  return uniform() ? flat : flat.index_select(0, slot_T_);
}

}  // namespace moetrain
