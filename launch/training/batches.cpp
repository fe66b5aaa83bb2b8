#include "launch/training/batches.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace launch {
namespace {

at::Tensor tensor_of(const std::vector<int64_t>& values, at::IntArrayRef shape, at::Device device) {
  return at::tensor(values, at::kLong).view(shape).to(device);
}

}  // namespace

DeviceBatch to_device(const data::TokenBatch& batch, const BatchPlace& place, at::Device device) {
  const std::vector<int64_t> shape{batch.sequences, batch.sequence_length};
  return {.inputs = {.tokens_SL = tensor_of(batch.tokens, shape, device),
                     .targets_SL = tensor_of(batch.targets, shape, device)},
          .groups_T = at::tensor(batch.groups, at::kInt).to(device, at::kLong),
          .place = place};
}

int64_t counted_targets(const data::TokenBatch& batch) {
  return static_cast<int64_t>(batch.targets.size()) -
         std::count(batch.targets.begin(), batch.targets.end(), data::TokenBatch::kIgnored);
}

TrainingBatches::TrainingBatches(const data::TokenStream& stream, const Recipe& recipe, data::Shard shard)
    : stream_(stream),
      sampler_(stream, recipe.data.sequence_length),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      sequence_length_(recipe.data.sequence_length),
      micro_batches_(recipe.train.micro_batches),
      micro_sequences_(recipe.train.global_batch / recipe.train.micro_batches) {}

BatchPlace TrainingBatches::place() const {
  return {.global_tokens = micro_sequences_ * sequence_length_,
          .first_token = data::split_range(micro_sequences_, shard_).begin * sequence_length_};
}

std::vector<data::TokenBatch> TrainingBatches::read(int64_t position) const {
  std::vector<data::TokenBatch> batches;
  const data::IndexRange own = data::split_range(micro_sequences_, shard_);
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const int64_t first = position + m * micro_sequences_ + own.begin;
    batches.push_back(
        data::read_windows(stream_, sequence_length_, sampler_.windows_at(seed_, first, own.end - own.begin)));
  }
  return batches;
}

}  // namespace launch
