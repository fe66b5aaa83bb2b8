#include "parallel/gradients/gradient_reducer.h"

#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <utility>

#include "parallel/base/fault.h"

namespace parallel {

class GradientReducer::Hook : public GradientPlace {
 public:
  Hook(GradientReducer& reducer, size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { reducer_.parameter_ready(parameter_); }
  at::Tensor take(GradientWidth width) override { return reducer_.take_place(parameter_, width); }

 private:
  GradientReducer& reducer_;
  size_t parameter_;
};

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group,
                                 ReducerOptions options)
    : GradientReducer(parameters, Groups(parameters.size(), std::move(group)), options) {}

GradientReducer::GradientReducer(std::vector<at::Tensor> parameters, const Groups& groups, ReducerOptions options)
    : parameters_(std::move(parameters)), options_(std::move(options)), places_(parameters_.size()) {
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
    std::vector<at::Tensor> members;
    for (const size_t i : plan.members) {
      places_[i] = {.bucket = buckets_.size(), .member = members.size()};
      members.push_back(parameters_[i]);
    }
    buckets_.emplace_back(std::move(members), group, cut_of(plan, shapes, sharded() ? group->size() : 1),
                          options_.sharding);
  }
  cut_slices();
  if (options_.schedule) options_.schedule->on_release([this](int64_t bytes) { release(bytes); });
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(*this, i));
  }
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
    if (gradient_type(parameter) != parameter.scalar_type()) parameter.set_grad_dtype(parameter.scalar_type());
  }
}

void GradientReducer::cut_slices() {
  const Plan plan = options_.schedule ? options_.schedule->plan() : Plan{};
  if (buckets_.empty() || slices_.is_cut_for(plan)) return;
  std::vector<SlicedBucket> sliced;
  for (const GradientBucket& bucket : buckets_) {
    sliced.push_back({.elements = bucket.elements(),
                      .group = &bucket.group(),
                      .on_wire = bucket.group().size() > 1,
                      .places = bucket.places()});
  }
  slices_.cut(sliced, plan, element_bytes());
}

void GradientReducer::zero() {
  cut_slices();
  for (GradientBucket& bucket : buckets_) bucket.zero();
  begin_round();
}

void GradientReducer::begin_round() {
  slices_.begin_round();
  issuing_ = false;
}

void GradientReducer::expect(bool last) { issuing_ = last || options_.sharding == Sharding::kGradients; }

void GradientReducer::parameter_ready(size_t i) {
  const auto [number, member] = places_[i];
  GradientBucket& bucket = buckets_[number];
  bucket.collect(member);
  if (!issuing_) return;
  const ElementRange& place = bucket.places()[member];
  if (TraceRecorder* recorder = this->recorder(); recorder != nullptr && bucket.group().size() > 1) {
    recorder->add_ready(recorder->now(), place.count * element_bytes());
  }
  slices_.complete(number, place);
  issue_ready();
}

at::Tensor GradientReducer::take_place(size_t i, GradientWidth width) {
  return buckets_[places_[i].bucket].take(places_[i].member, width);
}

void GradientReducer::release(int64_t bytes) {
  if (!issuing_) return;
  slices_.release(bytes);
  issue_ready();
}

void GradientReducer::issue_ready() {
  while (Slice* slice = slices_.take()) {
    slice->work = buckets_[slice->bucket].reduce(slice->elements.begin, slice->elements.count);
    if (slice->ends_bucket) bound_lead();
  }
  // What has arrived gives its room back. Waiting for it could wait for ever: a rank may come to these parameters only
  // after collectives of its backward that this rank has still to join.
  if (options_.sharding != Sharding::kGradients) return;
  for (Slice* slice = slices_.oldest(); slice != nullptr && slice->work.done(); slice = slices_.oldest())
    retire(*slice);
}

/// Waits for what this rank computes, never for a reduction of this round. Before a mark of its own stream lie, of
/// other ranks, collectives of forward and backward, which all ranks issue in one order, and reductions of rounds that
/// every rank that ended them has issued whole: the rank that has issued the fewest waits for none that another has
/// still to issue, so one rank always goes on. (NCCL demands one order of all of them anyway: order_of_collectives.)
void GradientReducer::bound_lead() {
  constexpr size_t kMostAhead = 2;
  const at::Device device = parameters_.front().device();
  if (options_.sharding != Sharding::kGradients || !is_accelerator(device)) return;
  issued_.emplace_back(current_stream(device));
  if (issued_.size() <= kMostAhead) return;
  issued_.front().host_waits();
  issued_.pop_front();
}

/// slice: the oldest.
void GradientReducer::retire(Slice& slice) {
  slices_.retire_oldest();
  slice.work.wait();
  note(slice);
  slice.work = {};
  if (slice.ends_bucket) buckets_[slice.bucket].finish_reduction();
}

void GradientReducer::note(const Slice& slice) const {
  TraceRecorder* recorder = this->recorder();
  if (recorder == nullptr || !slice.work.state() || buckets_[slice.bucket].group().size() == 1) return;
  const int64_t bytes = slice.elements.count * element_bytes();
  if (const auto span = slice.work.state()->span()) {
    recorder->add({TaskKind::kGradient, Direction::kBackward, /*layer=*/-1, slice.number, bytes}, span->begin,
                  span->end);
  }
}

void GradientReducer::end_round() {
  issued_.clear();
  for (GradientBucket& bucket : buckets_) bucket.end_round();
  slices_.end_round();
  issuing_ = true;
  issue_ready();
  while (Slice* slice = slices_.oldest()) retire(*slice);
  begin_round();
}

void GradientReducer::end_micro_batch() {
  if (options_.sharding == Sharding::kGradients) end_round();
}
void GradientReducer::finish() {
  if (options_.sharding != Sharding::kGradients) end_round();
}

at::Tensor GradientReducer::gradient(size_t i) const { return bucket(i).gradient(places_[i].member); }

at::Tensor GradientReducer::owned_part(size_t i) const { return bucket(i).owned_part(places_[i].member); }

void GradientReducer::gather_parameters() {
  if (!sharded()) return;
  std::vector<Work> works;
  for (GradientBucket& bucket : buckets_) works.push_back(bucket.gather_parameters());
  for (Work& work : works) work.wait();
}

int64_t GradientReducer::bytes() const {
  int64_t total = 0;
  for (const GradientBucket& bucket : buckets_) total += bucket.elements() * element_bytes();
  return total;
}

int64_t GradientReducer::kept_bytes() const {
  int64_t total = 0;
  for (const GradientBucket& bucket : buckets_) total += bucket.kept_bytes();
  return total;
}

}  // namespace parallel
