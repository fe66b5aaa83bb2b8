#include "parallel/gradients/gradient_bucket.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace parallel {
namespace {

at::Tensor as_part_of(const at::Tensor& flat, const at::Tensor& parameter) {
  return parameter.dim() >= 2 ? flat.unsqueeze(1) : flat;
}

}  // namespace

at::ScalarType gradient_type(const at::Tensor& parameter) {
  return parameter.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

GradientBucket::GradientBucket(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group, RowCounts cut,
                               Sharding sharding)
    : parameters_(std::move(parameters)), group_(std::move(group)), cut_(std::move(cut)), sharding_(sharding) {
  for (const at::Tensor& parameter : parameters_) {
    places_.push_back({elements_, parameter.numel()});
    elements_ += parameter.numel();
  }
  own_ = {0, elements_};
  if (sharded()) {
    const auto rank = static_cast<size_t>(group_->rank());
    own_ = {std::accumulate(cut_.begin(), cut_.begin() + group_->rank(), int64_t{0}), cut_[rank]};
    parameters_flat_ = at::empty({elements_}, parameters_.front().options().requires_grad(false));
  }
  for (size_t k = 0; k < parameters_.size(); ++k) place_parameter(k);
  awaited_.assign(parameters_.size(), false);
  taken_.resize(parameters_.size());
}

void GradientBucket::check_let_go(size_t k) const {
  check_internal(!taken_[k] || taken_[k]->expired(),
                 "a gradient lies in its place still, where another one is to come");
}

at::TensorOptions GradientBucket::options() const {
  const at::Tensor& first = parameters_.front();
  return first.options().dtype(gradient_type(first)).requires_grad(false);
}

/// Before the first gradient. Where a round awaits all of them, each is written before it is read.
void GradientBucket::open() {
  if (flat_.defined()) return;
  const bool awaited = std::ranges::all_of(awaited_, std::identity());
  flat_ = awaited ? at::empty({elements_}, options()) : at::zeros({elements_}, options());
}

void GradientBucket::close() {
  for (at::Tensor& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
  flat_ = at::Tensor();
}

void GradientBucket::place_parameter(size_t k) {
  at::Tensor& parameter = parameters_[k];
  const auto [offset, count] = places_[k];
  const int64_t begin = std::max(own_.begin, offset);
  const int64_t end = std::max(begin, std::min(own_.begin + own_.count, offset + count));
  owned_.push_back({std::min(begin - offset, count), end - begin});
  if (parameters_flat_.defined()) {
    const at::Tensor place = parameters_flat_.narrow(0, offset, count).view(parameter.sizes());
    place.copy_(parameter.detach());
    parameter.set_data(place);
  }
  parameter.mutable_grad() = at::Tensor();
  if (parameter.scalar_type() != gradient_type(parameter)) parameter.set_grad_dtype(std::nullopt);
}

/// Autograd adds what comes next straight into the bucket.
void GradientBucket::add_in_place(size_t k) {
  at::Tensor& parameter = parameters_[k];
  parameter.mutable_grad() = flat_.narrow(0, places_[k].begin, places_[k].count).view(parameter.sizes());
}

// The first gradient of a round is not added to zeros but copied, which reads and writes half as much.
void GradientBucket::zero() {
  part_ = arriving_ = at::Tensor();
  awaited_.assign(parameters_.size(), sharding_ != Sharding::kGradients);
  for (size_t k = 0; k < taken_.size(); ++k) check_let_go(k), taken_[k].reset();
  close();
}

// Of the others in the bucket, some are written to between the making of this one and its use: a version of its own.
at::Tensor GradientBucket::take(size_t k, GradientWidth width) {
  const at::Tensor& parameter = parameters_[k];
  const bool of_own_type = parameter.scalar_type() == gradient_type(parameter);
  if (!awaited_[k] || taken_[k] || (width == GradientWidth::kOwn && !of_own_type)) return {};
  open();
  at::Tensor place = flat_.narrow(0, places_[k].begin, places_[k].count).view(parameter.sizes()).variable_data();
  taken_[k].emplace(place.getIntrusivePtr());
  return place;
}

void GradientBucket::collect(size_t k) {
  at::Tensor& gradient = parameters_[k].mutable_grad();
  open();
  at::Tensor place = flat_.narrow(0, places_[k].begin, places_[k].count);
  const bool first = awaited_[k];
  awaited_[k] = false;
  if (gradient.data_ptr() == place.data_ptr()) return;
  check_let_go(k);
  first ? place.copy_(gradient.flatten()) : place.add_(gradient.flatten());
  gradient = at::Tensor();
  if (sharding_ != Sharding::kGradients) add_in_place(k);
}

void GradientBucket::end_round() {
  if (sharded() && elements_ == 0) part_ = at::empty({0}, options());  // nothing of it is ever sent
  if (sharding_ != Sharding::kGradients) open();
  for (size_t k = 0; k < parameters_.size(); ++k) {
    if (!awaited_[k]) continue;
    awaited_[k] = false;
    flat_.narrow(0, places_[k].begin, places_[k].count).zero_();
    add_in_place(k);
  }
}

Work GradientBucket::reduce(int64_t begin, int64_t count) {
  if (!sharded()) return group_->all_reduce(flat_.narrow(0, begin, count), ReduceOp::kSum);
  open();  // parameters that no loss reaches on this rank count as zeros
  if (!arriving_.defined()) arriving_ = at::empty({own_.count}, options());
  RowCounts within;  // of each rank's part, what lies in these elements
  int64_t part = 0, own_begin = 0;
  for (size_t r = 0; r < cut_.size(); part += cut_[r++]) {
    const int64_t from = std::clamp(begin, part, part + cut_[r]);
    const int64_t to = std::clamp(begin + count, part, part + cut_[r]);
    within.push_back(to - from);
    if (static_cast<int64_t>(r) == group_->rank()) own_begin = from - part;
  }
  const int64_t own = within[static_cast<size_t>(group_->rank())];
  return group_->reduce_scatter_rows(arriving_.narrow(0, own_begin, own), flat_.narrow(0, begin, count), within);
}

void GradientBucket::finish_reduction() {
  if (!arriving_.defined()) return;
  const at::Tensor sum = std::exchange(arriving_, at::Tensor());
  if (part_.defined()) {
    part_.add_(sum);
  } else {
    part_ = sum;
  }
  close();
}

Work GradientBucket::gather_parameters() {
  return group_->all_gather_rows(parameters_flat_, parameters_flat_.narrow(0, own_.begin, own_.count), cut_);
}

at::Tensor GradientBucket::gradient(size_t k) const {
  const auto [begin, count] = owned_[k];
  check_internal((sharded() ? part_ : flat_).defined(), "a gradient is asked for before a round has ended");
  if (!sharded()) return flat_.narrow(0, places_[k].begin, count).view(parameters_[k].sizes());
  const int64_t from = count == 0 ? 0 : places_[k].begin + begin - own_.begin;
  return as_part_of(part_.narrow(0, from, count), parameters_[k]);
}

at::Tensor GradientBucket::owned_part(size_t k) const {
  const at::Tensor parameter = parameters_[k].detach();
  if (!sharded()) return parameter;
  return as_part_of(parameter.flatten().narrow(0, owned_[k].begin, owned_[k].count), parameter);
}

int64_t GradientBucket::kept_bytes() const {
  const int64_t kept = sharding_ == Sharding::kGradients ? own_.count : elements_;
  return kept * static_cast<int64_t>(options().dtype().itemsize());
}

}  // namespace parallel
