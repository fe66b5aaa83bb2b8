#include "parallel/gradients/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <utility>

#include "parallel/base/fault.h"

namespace parallel {

struct GradientReducer::Bucket {
  std::shared_ptr<Communicator> group;
  at::Tensor flat;             // gradients; undefined where they are kept for the own part alone and none has come
  at::Tensor part;             // the own part of their sum, with sharding
  at::Tensor arriving;         // what a reduction brings for it
  at::Tensor parameters_flat;  // the parameters' data, with sharding
  int64_t elements = 0;
  RowCounts cut;      // elements of each rank's part
  int64_t begin = 0;  // of the own part
  int64_t parameters = 0;
  int64_t waiting = 0;  // parameters whose last gradient is still to come
  Work work;
};

class GradientReducer::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientReducer& reducer, size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { reducer_.parameter_ready(parameter_); }

 private:
  GradientReducer& reducer_;
  size_t parameter_;
};

namespace {

at::ScalarType gradient_type(const at::Tensor& parameter) {
  return parameter.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::TensorOptions gradient_options(const at::Tensor& parameter) {
  return parameter.options().dtype(gradient_type(parameter)).requires_grad(false);
}

/// A part of a flattened parameter: a column, so that an optimizer still sees that it is part of a matrix.
at::Tensor as_part_of(const at::Tensor& flat, const at::Tensor& parameter) {
  return parameter.dim() >= 2 ? flat.unsqueeze(1) : flat;
}

}  // namespace

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group,
                                 ReducerOptions options)
    : GradientReducer(parameters, Groups(parameters.size(), std::move(group)), options) {}

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, const Groups& groups, ReducerOptions options)
    : parameters_(std::move(parameters)),
      options_(options),
      bucket_of_(parameters_.size()),
      offset_(parameters_.size()),
      owned_(parameters_.size()) {
  check_internal(groups.size() == parameters_.size(), "GradientReducer: ", groups.size(), " groups for ",
                 parameters_.size(), " parameters");
  struct Open {
    std::shared_ptr<Communicator> group;
    std::vector<size_t> members;
    int64_t elements = 0;
  };
  std::vector<Open> open;  // one for each group, in the order of its last parameter
  const auto close = [&](Open& each) {
    if (!each.members.empty()) make_bucket(each.group, each.members);
    each = {.group = each.group};
  };
  for (size_t i = parameters_.size(); i-- > 0;) {
    check_internal(gradient_type(parameters_[i]) == gradient_type(parameters_.front()),
                   "GradientReducer: parameters of mixed precision");
    auto found = std::ranges::find(open, groups[i], &Open::group);
    if (found == open.end()) found = open.insert(open.end(), {.group = groups[i]});
    found->members.push_back(i);
    found->elements += parameters_[i].numel();
    const auto bytes = found->elements * static_cast<int64_t>(c10::elementSize(gradient_type(parameters_[i])));
    if (bytes >= options.bucket_bytes) close(*found);
  }
  for (Open& each : open) close(each);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(*this, i));
  }
}

void GradientReducer::make_bucket(const std::shared_ptr<Communicator>& group, const std::vector<size_t>& members) {
  Bucket bucket;
  bucket.group = group;
  bucket.parameters = static_cast<int64_t>(members.size());
  for (const size_t i : members) {
    bucket_of_[i] = buckets_.size();
    offset_[i] = std::exchange(bucket.elements, bucket.elements + parameters_[i].numel());
  }
  const at::Tensor& first = parameters_[members.front()];
  if (options_.sharding != Sharding::kGradients) bucket.flat = at::zeros({bucket.elements}, gradient_options(first));
  if (options_.sharding == Sharding::kNone) {
    bucket.cut = {bucket.elements};
  } else {
    const int64_t ranks = group->size();
    for (int64_t r = 0; r < ranks; ++r) {
      bucket.cut.push_back(bucket.elements * (r + 1) / ranks - bucket.elements * r / ranks);
    }
    bucket.begin = bucket.elements * group->rank() / ranks;
    bucket.part = at::zeros({bucket.cut[static_cast<size_t>(group->rank())]}, gradient_options(first));
    bucket.parameters_flat = at::empty({bucket.elements}, first.options().requires_grad(false));
  }
  const int64_t own_end = options_.sharding == Sharding::kNone ? bucket.elements : bucket.begin + bucket.part.numel();
  for (const size_t i : members) {
    at::Tensor& parameter = parameters_[i];
    const int64_t begin = std::max(bucket.begin, offset_[i]);
    const int64_t end = std::max(begin, std::min(own_end, offset_[i] + parameter.numel()));
    owned_[i] = {std::min(begin - offset_[i], parameter.numel()), end - begin};
    if (bucket.parameters_flat.defined()) {
      const at::Tensor place = bucket.parameters_flat.narrow(0, offset_[i], parameter.numel()).view(parameter.sizes());
      place.copy_(parameter.detach());
      parameter.set_data(place);
    }
    // Where dtypes agree autograd adds straight into the bucket.
    if (bucket.flat.defined() && parameter.scalar_type() == bucket.flat.scalar_type()) {
      parameter.mutable_grad() = bucket.flat.narrow(0, offset_[i], parameter.numel()).view(parameter.sizes());
    }
  }
  buckets_.push_back(std::move(bucket));
}

GradientReducer::~GradientReducer() {
  for (at::Tensor& parameter : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
    parameter.mutable_grad() = at::Tensor();
  }
}

void GradientReducer::zero() {
  for (Bucket& bucket : buckets_) {
    if (bucket.flat.defined()) bucket.flat.zero_();
    if (bucket.part.defined()) bucket.part.zero_();
    bucket.waiting = bucket.parameters;
  }
  next_to_issue_ = next_to_retire_ = 0;
  issuing_ = false;
}

void GradientReducer::expect(bool last) { issuing_ = last || options_.sharding == Sharding::kGradients; }

void GradientReducer::parameter_ready(size_t i) {
  at::Tensor& own = parameters_[i].mutable_grad();
  Bucket& bucket = buckets_[bucket_of_[i]];
  if (!bucket.flat.defined()) bucket.flat = at::zeros({bucket.elements}, gradient_options(parameters_[i]));
  const at::Tensor place = bucket.flat.narrow(0, offset_[i], own.numel());
  if (own.data_ptr() != place.data_ptr()) {
    place.add_(own.flatten());
    own = at::Tensor();
  }
  if (!issuing_) return;
  --bucket.waiting;
  issue_ready();
}

void GradientReducer::issue_ready() {
  while (next_to_issue_ < buckets_.size() && buckets_[next_to_issue_].waiting == 0) {
    Bucket& bucket = buckets_[next_to_issue_++];
    if (options_.sharding == Sharding::kNone) {
      bucket.work = bucket.group->all_reduce(bucket.flat, ReduceOp::kSum);
      continue;
    }
    // A parameter that no loss reaches on this rank counts as zeros.
    if (!bucket.flat.defined()) bucket.flat = at::zeros({bucket.elements}, bucket.part.options());
    bucket.arriving = at::empty_like(bucket.part);
    bucket.work = bucket.group->reduce_scatter_rows(bucket.arriving, bucket.flat, bucket.cut);
  }
  // What has arrived gives its room back. Waiting here could wait for ever: a rank may come to these parameters only
  // after collectives of its backward that this rank has still to join.
  if (options_.sharding != Sharding::kGradients) return;
  while (next_to_retire_ < next_to_issue_ && buckets_[next_to_retire_].work.done()) retire(buckets_[next_to_retire_++]);
}

void GradientReducer::retire(Bucket& bucket) {
  bucket.work.wait();
  if (!bucket.arriving.defined()) return;
  bucket.part.add_(std::exchange(bucket.arriving, at::Tensor()));
  if (options_.sharding == Sharding::kGradients) bucket.flat = at::Tensor();
}

void GradientReducer::end_round() {
  for (Bucket& bucket : buckets_) bucket.waiting = 0;  // a parameter that no loss reaches keeps its zeros
  issue_ready();
  for (Bucket& bucket : buckets_) {
    retire(bucket);
    bucket.waiting = bucket.parameters;
  }
  next_to_issue_ = next_to_retire_ = 0;
  issuing_ = false;
}

void GradientReducer::end_micro_batch() {
  if (options_.sharding == Sharding::kGradients) end_round();
}

void GradientReducer::finish() {
  if (options_.sharding != Sharding::kGradients) end_round();
}

at::Tensor GradientReducer::gradient(size_t i) const {
  const Bucket& bucket = buckets_[bucket_of_[i]];
  const auto [begin, count] = owned_[i];
  if (options_.sharding == Sharding::kNone)
    return bucket.flat.narrow(0, offset_[i], count).view(parameters_[i].sizes());
  const int64_t from = count == 0 ? 0 : offset_[i] + begin - bucket.begin;
  return as_part_of(bucket.part.narrow(0, from, count), parameters_[i]);
}

at::Tensor GradientReducer::owned_part(size_t i) const {
  const at::Tensor parameter = parameters_[i].detach();
  if (options_.sharding == Sharding::kNone) return parameter;
  return as_part_of(parameter.flatten().narrow(0, owned_[i].begin, owned_[i].count), parameter);
}

void GradientReducer::gather_parameters() {
  if (options_.sharding == Sharding::kNone) return;
  std::vector<Work> works;
  for (const Bucket& bucket : buckets_) {
    const at::Tensor own = bucket.parameters_flat.narrow(0, bucket.begin, bucket.part.numel()).clone();
    works.push_back(bucket.group->all_gather_rows(bucket.parameters_flat, own, bucket.cut));
  }
  for (Work& work : works) work.wait();
}

int64_t GradientReducer::bytes() const {
  int64_t total = 0;
  for (const Bucket& bucket : buckets_) {
    total += bucket.elements * static_cast<int64_t>(c10::elementSize(gradient_type(parameters_.front())));
  }
  return total;
}

int64_t GradientReducer::kept_bytes() const {
  int64_t total = 0;
  for (const Bucket& bucket : buckets_) {
    const bool whole = options_.sharding != Sharding::kGradients;
    total += static_cast<int64_t>((whole ? bucket.flat : bucket.part).nbytes());
  }
  return total;
}

}  // namespace parallel
