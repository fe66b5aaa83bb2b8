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
  at::Tensor flat;
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

}  // namespace

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group,
                                 ReducerOptions options)
    : GradientReducer(parameters, Groups(parameters.size(), std::move(group)), options) {}

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, const Groups& groups, ReducerOptions options)
    : parameters_(std::move(parameters)), gradients_(parameters_.size()), bucket_of_(parameters_.size()) {
  check_internal(groups.size() == parameters_.size(), "GradientReducer: ", groups.size(), " groups for ",
                 parameters_.size(), " parameters");
  struct Open {
    std::shared_ptr<Communicator> group;
    std::vector<size_t> members;
    int64_t elements = 0;
  };
  std::vector<Open> open;  // one for each group, in the order of its last parameter
  const auto close = [&](Open& each) {
    if (each.members.empty()) return;
    const at::Tensor& first = parameters_[each.members.front()];
    Bucket bucket;
    bucket.group = each.group;
    bucket.flat = at::zeros({each.elements}, first.options().dtype(gradient_type(first)).requires_grad(false));
    bucket.parameters = static_cast<int64_t>(each.members.size());
    int64_t offset = 0;
    for (const size_t i : each.members) {
      gradients_[i] = bucket.flat.narrow(0, offset, parameters_[i].numel()).view(parameters_[i].sizes());
      bucket_of_[i] = buckets_.size();
      offset += parameters_[i].numel();
    }
    buckets_.push_back(std::move(bucket));
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
    // Where dtypes agree autograd adds straight into the bucket.
    if (parameters_[i].scalar_type() == gradients_[i].scalar_type()) parameters_[i].mutable_grad() = gradients_[i];
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(*this, i));
  }
}

GradientReducer::~GradientReducer() {
  for (at::Tensor& parameter : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
    parameter.mutable_grad() = at::Tensor();
  }
}

void GradientReducer::zero() {
  for (Bucket& bucket : buckets_) {
    bucket.flat.zero_();
    bucket.waiting = bucket.parameters;
  }
  next_to_issue_ = 0;
  last_ = false;
}

void GradientReducer::expect_last() { last_ = true; }

void GradientReducer::parameter_ready(size_t i) {
  at::Tensor& own = parameters_[i].mutable_grad();
  if (!own.is_same(gradients_[i])) {
    gradients_[i].add_(own);
    own = at::Tensor();
  }
  if (!last_) return;
  --buckets_[bucket_of_[i]].waiting;
  issue_ready();
}

void GradientReducer::issue_ready() {
  while (next_to_issue_ < buckets_.size() && buckets_[next_to_issue_].waiting == 0) {
    Bucket& bucket = buckets_[next_to_issue_++];
    bucket.work = bucket.group->all_reduce(bucket.flat, ReduceOp::kSum);
  }
}

void GradientReducer::finish() {
  for (Bucket& bucket : buckets_) bucket.waiting = 0;  // a parameter that no loss reaches keeps its zeros
  issue_ready();
  for (Bucket& bucket : buckets_) bucket.work.wait();
}

int64_t GradientReducer::bytes() const {
  int64_t total = 0;
  for (const Bucket& bucket : buckets_) total += static_cast<int64_t>(bucket.flat.nbytes());
  return total;
}

}  // namespace parallel
