#include "parallel/gradients/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <map>
#include <numeric>
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
  RowCounts cut;                // elements of each rank's part
  int64_t begin = 0;            // of the own part
  std::vector<size_t> members;  // parameters, as they lie
  size_t slices_left = 0;       // that are to be retired in this round
};

struct GradientReducer::Slice {
  size_t bucket = 0;
  int64_t begin = 0, count = 0;  // elements of the bucket
  int64_t bytes_up_to = 0;       // what goes over a wire with it and all slices before it
  int64_t parameters = 0;        // that lie in it, or partly
  int64_t waiting = 0;           // those whose last gradient is still to come
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
  std::vector<std::shared_ptr<Communicator>> distinct;
  std::vector<GradientShape> shapes;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    check_internal(gradient_type(parameters_[i]) == gradient_type(parameters_.front()),
                   "GradientReducer: parameters of mixed precision");
    const auto found = std::ranges::find(distinct, groups[i]);
    shapes.push_back({.elements = parameters_[i].numel(), .group = found - distinct.begin()});
    if (!options_.units.empty()) shapes.back().unit = options_.units[i];
    if (found == distinct.end()) distinct.push_back(groups[i]);
  }
  const int64_t element = shapes.empty() ? 1 : element_bytes();
  for (const BucketPlan& plan : gradient_buckets(shapes, element, options_.bucket_bytes)) {
    const auto& group = distinct[static_cast<size_t>(plan.group)];
    make_bucket(group, plan, cut_of(plan, shapes, sharded() ? group->size() : 1));
  }
  cut_slices();
  if (options_.schedule) options_.schedule->on_release([this](int64_t bytes) { release(bytes); });
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(*this, i));
  }
}

void GradientReducer::make_bucket(const std::shared_ptr<Communicator>& group, const BucketPlan& plan, RowCounts cut) {
  const std::vector<size_t>& members = plan.members;
  Bucket bucket{.group = group, .elements = plan.elements, .cut = std::move(cut), .members = members};
  int64_t offset = 0;
  for (const size_t i : members) {
    bucket_of_[i] = buckets_.size();
    offset_[i] = std::exchange(offset, offset + parameters_[i].numel());
  }
  const at::Tensor& first = parameters_[members.front()];
  if (options_.sharding != Sharding::kGradients) bucket.flat = at::zeros({bucket.elements}, gradient_options(first));
  if (sharded()) {
    bucket.begin = std::accumulate(bucket.cut.begin(), bucket.cut.begin() + group->rank(), int64_t{0});
    bucket.part = at::zeros({bucket.cut[static_cast<size_t>(group->rank())]}, gradient_options(first));
    bucket.parameters_flat = at::empty({bucket.elements}, first.options().requires_grad(false));
  }
  const int64_t own_end = sharded() ? bucket.begin + bucket.part.numel() : bucket.elements;
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

int64_t GradientReducer::element_bytes() const {
  return static_cast<int64_t>(c10::elementSize(gradient_type(parameters_.front())));
}

TraceRecorder* GradientReducer::recorder() const { return options_.schedule ? options_.schedule->recorder() : nullptr; }

GradientReducer::~GradientReducer() {
  if (options_.schedule) options_.schedule->on_release({});
  for (at::Tensor& parameter : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
    parameter.mutable_grad() = at::Tensor();
  }
}

void GradientReducer::cut_slices() {
  const Plan plan = options_.schedule ? options_.schedule->plan() : Plan{};
  if (buckets_.empty() || (!slices_.empty() && plan == plan_)) return;
  slices_.clear();
  plan_ = plan;
  const int64_t element = element_bytes();
  int64_t stop = 0;
  std::vector<int64_t> stops;  // [byte] where releases end, in the order of backward
  for (size_t layer = plan.layers.size(); plan.release == GradientRelease::kPlanned && layer-- > 0;) {
    stops.push_back(stop += plan.layers[layer].moe_gradient_bytes);
    stops.push_back(stop += plan.layers[layer].dense_gradient_bytes);
  }
  int64_t sent = 0;
  // Ranks of one group hold the same elements, ranks of two groups may not: cuts look at the group's own alone.
  std::map<const Communicator*, int64_t> places;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    const Bucket& bucket = buckets_[b];
    const bool wire = bucket.group->size() > 1;
    int64_t& place = places[bucket.group.get()];
    for (int64_t begin = 0; begin < bucket.elements;) {
      int64_t count = bucket.elements - begin;
      if (plan.slice_bytes > 0) count = std::min(count, std::max<int64_t>(1, plan.slice_bytes / element));
      const auto next = std::ranges::upper_bound(stops, place);
      if (wire && next != stops.end()) count = std::min(count, std::max<int64_t>(1, (*next - place) / element));
      place += count * element;
      sent += wire ? count * element : 0;
      slices_.push_back({.bucket = b, .begin = begin, .count = count, .bytes_up_to = sent});
      for (const size_t i : bucket.members) {
        slices_.back().parameters += offset_[i] < begin + count && begin < offset_[i] + parameters_[i].numel();
      }
      begin += count;
    }
  }
}

void GradientReducer::zero() {
  cut_slices();
  for (Bucket& bucket : buckets_) {
    if (bucket.flat.defined()) bucket.flat.zero_();
    if (bucket.part.defined()) bucket.part.zero_();
  }
  begin_round();
}

void GradientReducer::begin_round() {
  for (Bucket& bucket : buckets_) bucket.slices_left = 0;
  for (Slice& slice : slices_) {
    slice.waiting = slice.parameters;
    ++buckets_[slice.bucket].slices_left;
  }
  next_to_issue_ = next_to_retire_ = 0;
  released_bytes_ = 0;
  issuing_ = ending_ = false;
}

void GradientReducer::expect(bool last) { issuing_ = last || options_.sharding == Sharding::kGradients; }

void GradientReducer::parameter_ready(size_t i) {
  at::Tensor& own = parameters_[i].mutable_grad();
  Bucket& bucket = buckets_[bucket_of_[i]];
  if (!bucket.flat.defined()) bucket.flat = at::zeros({bucket.elements}, gradient_options(parameters_[i]));
  const int64_t begin = offset_[i], end = begin + own.numel();
  const at::Tensor place = bucket.flat.narrow(0, begin, own.numel());
  if (own.data_ptr() != place.data_ptr()) {
    place.add_(own.flatten());
    own = at::Tensor();
  }
  if (!issuing_) return;
  if (TraceRecorder* recorder = this->recorder(); recorder != nullptr && bucket.group->size() > 1) {
    recorder->add_ready(recorder->now(), (end - begin) * element_bytes());
  }
  for (Slice& slice : slices_) {
    if (slice.bucket == bucket_of_[i] && slice.begin < end && begin < slice.begin + slice.count) --slice.waiting;
  }
  issue_ready();
}

void GradientReducer::release(int64_t bytes) {
  if (!issuing_) return;
  released_bytes_ += bytes;
  issue_ready();
}

bool GradientReducer::released(const Slice& slice) const {
  return ending_ || plan_.release == GradientRelease::kWhenReady ||
         (plan_.release == GradientRelease::kPlanned && slice.bytes_up_to <= released_bytes_);
}

void GradientReducer::issue(Slice& slice) {
  Bucket& bucket = buckets_[slice.bucket];
  if (!sharded()) {
    slice.work = bucket.group->all_reduce(bucket.flat.narrow(0, slice.begin, slice.count), ReduceOp::kSum);
    return;
  }
  // A parameter that no loss reaches on this rank counts as zeros.
  if (!bucket.flat.defined()) bucket.flat = at::zeros({bucket.elements}, bucket.part.options());
  if (!bucket.arriving.defined()) bucket.arriving = at::empty_like(bucket.part);
  RowCounts cut;  // what of each rank's part lies in the slice
  int64_t begin = 0, own_begin = 0;
  for (size_t r = 0; r < bucket.cut.size(); begin += bucket.cut[r++]) {
    const int64_t from = std::clamp(slice.begin, begin, begin + bucket.cut[r]);
    const int64_t to = std::clamp(slice.begin + slice.count, begin, begin + bucket.cut[r]);
    cut.push_back(to - from);
    if (static_cast<int64_t>(r) == bucket.group->rank()) own_begin = from - begin;
  }
  const int64_t own = cut[static_cast<size_t>(bucket.group->rank())];
  slice.work = bucket.group->reduce_scatter_rows(bucket.arriving.narrow(0, own_begin, own),
                                                 bucket.flat.narrow(0, slice.begin, slice.count), cut);
}

void GradientReducer::issue_ready() {
  while (next_to_issue_ < slices_.size() && slices_[next_to_issue_].waiting == 0 && released(slices_[next_to_issue_])) {
    issue(slices_[next_to_issue_++]);
  }
  // What has arrived gives its room back. Waiting here could wait for ever: a rank may come to these parameters only
  // after collectives of its backward that this rank has still to join.
  if (options_.sharding != Sharding::kGradients) return;
  while (next_to_retire_ < next_to_issue_ && slices_[next_to_retire_].work.done()) retire(slices_[next_to_retire_++]);
}

void GradientReducer::retire(Slice& slice) {
  slice.work.wait();
  note(slice);
  slice.work = {};
  Bucket& bucket = buckets_[slice.bucket];
  if (--bucket.slices_left > 0 || !bucket.arriving.defined()) return;
  bucket.part.add_(std::exchange(bucket.arriving, at::Tensor()));
  if (options_.sharding == Sharding::kGradients) bucket.flat = at::Tensor();
}

void GradientReducer::note(const Slice& slice) const {
  TraceRecorder* recorder = this->recorder();
  if (recorder == nullptr || !slice.work.state() || buckets_[slice.bucket].group->size() == 1) return;
  const int64_t bytes = slice.count * element_bytes();
  if (const auto span = slice.work.state()->span()) {
    recorder->add({TaskKind::kGradient, Direction::kBackward, /*layer=*/-1, &slice - slices_.data(), bytes},
                  span->begin, span->end);
  }
}

void GradientReducer::end_round() {
  for (Slice& slice : slices_) slice.waiting = 0;  // a parameter that no loss reaches keeps its zeros
  issuing_ = ending_ = true;
  issue_ready();
  while (next_to_retire_ < slices_.size()) retire(slices_[next_to_retire_++]);
  begin_round();
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
  if (!sharded()) return bucket.flat.narrow(0, offset_[i], count).view(parameters_[i].sizes());
  const int64_t from = count == 0 ? 0 : offset_[i] + begin - bucket.begin;
  return as_part_of(bucket.part.narrow(0, from, count), parameters_[i]);
}

at::Tensor GradientReducer::owned_part(size_t i) const {
  const at::Tensor parameter = parameters_[i].detach();
  if (!sharded()) return parameter;
  return as_part_of(parameter.flatten().narrow(0, owned_[i].begin, owned_[i].count), parameter);
}

void GradientReducer::gather_parameters() {
  if (!sharded()) return;
  std::vector<Work> works;
  for (const Bucket& bucket : buckets_) {
    const at::Tensor own = bucket.parameters_flat.narrow(0, bucket.begin, bucket.part.numel()).clone();
    works.push_back(bucket.group->all_gather_rows(bucket.parameters_flat, own, bucket.cut));
  }
  for (Work& work : works) work.wait();
}

int64_t GradientReducer::bytes() const {
  int64_t total = 0;
  for (const Bucket& bucket : buckets_) total += bucket.elements * element_bytes();
  return total;
}

int64_t GradientReducer::kept_bytes() const {
  int64_t total = 0;
  const bool whole = options_.sharding != Sharding::kGradients;
  for (const Bucket& bucket : buckets_) total += static_cast<int64_t>((whole ? bucket.flat : bucket.part).nbytes());
  return total;
}

}  // namespace parallel
