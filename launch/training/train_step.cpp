#include "launch/training/train_step.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>

#include "launch/checkpoint/checkpoint.h"
#include "launch/models/model_builder.h"
#include "moetrain/losses/routing_shares.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/stream_mark.h"
#include "parallel/phases/phase.h"

namespace launch {
namespace {

/// Seconds since the last lap. On CUDA kernels run behind the host, so the phases tell where the host waited.
class Laps {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Sums over the micro-batches of what is reported, this rank's shares until reduced.
class Tally {
 public:
  void add(const moetrain::ObjectiveOutput& output, int64_t micro_batches, parallel::Communicator& group) {
    losses_.add_all(output.losses.detached());
    layers_.resize(output.routing.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto& [site, side, rows, global_rows, decision] = output.routing[i];
      const at::Tensor& choices = decision.global_choices_E;
      const at::Tensor share = moetrain::router_entropy_share(decision, {.group = group, .global_tokens = global_rows});
      const at::Tensor entropy = share.to(at::kDouble) / static_cast<double>(micro_batches);
      Layer& sum = layers_[i];
      sum.site = site;
      sum.choices_E = sum.choices_E.defined() ? sum.choices_E + choices : choices;
      sum.entropy = sum.entropy.defined() ? sum.entropy + entropy : entropy;
      sum.dropped += decision.dropped;
    }
  }

  /// Of the micro-batches so far, at the number of their layer.
  std::vector<at::Tensor> choices() const {
    std::vector<at::Tensor> all;
    for (const Layer& layer : layers_) {
      const auto number = static_cast<size_t>(layer.site.number());
      all.resize(std::max(all.size(), number + 1));
      all[number] = layer.choices_E;
    }
    return all;
  }

  /// One all-reduce for everything. Collective.
  void reduce(parallel::Communicator& control, StepReport& report) const {
    const at::Tensor host = shares_on_host();
    const int64_t shares = std::ssize(losses_.terms()) + std::ssize(layers_);
    std::vector<double> dropped;
    for (const Layer& layer : layers_) dropped.push_back(static_cast<double>(layer.dropped));
    at::Tensor sums = at::cat({host.narrow(0, 0, shares), at::tensor(dropped, at::kDouble)});
    control.all_reduce(sums, parallel::ReduceOp::kSum).wait();
    const double *sum = sums.const_data_ptr<double>(), *choices = host.const_data_ptr<double>() + shares;
    for (const auto& term : losses_.terms()) report.losses.emplace_back(term.name, *sum++);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const int64_t experts = layers_[i].choices_E.numel();
      const double total = std::accumulate(choices, choices + experts, 0.0);
      LayerLoad load{.site = layers_[i].site};
      for (int64_t e = 0; e < experts; ++e) load.load.push_back(*choices++ / std::max(total, 1.0));
      load.entropy = sum[i];
      load.dropped = static_cast<int64_t>(sum[layers_.size() + i]);
      report.layers.push_back(std::move(load));
    }
  }

 private:
  /// This rank's shares of the losses, then of the entropies, then all choices of each layer: for one copy the host
  /// waits.
  at::Tensor shares_on_host() const {
    std::vector<at::Tensor> all;
    for (const auto& term : losses_.terms()) all.push_back(term.share.to(at::kDouble).view({1}));
    for (const Layer& layer : layers_) all.push_back(layer.entropy.view({1}));
    for (const Layer& layer : layers_) all.push_back(layer.choices_E.to(at::kDouble).flatten());
    return at::cat(all).to(at::kCPU);
  }

  struct Layer {
    moetrain::LayerSite site;
    at::Tensor choices_E, entropy;
    int64_t dropped = 0;
  };
  moetrain::LossTerms losses_;
  std::vector<Layer> layers_;
};

std::vector<at::Tensor> gradients_of(const TrainState& state) {
  std::vector<at::Tensor> gradients;
  const size_t count = trained_parameters(*state.model).size();
  for (size_t i = 0; i < count; ++i) gradients.push_back(state.reducer->gradient(i));
  return gradients;
}

/// Squares of this rank's gradients that no other rank of `group` holds, summed over it in rank order: the same bits
/// on every rank.
double sum_over_parts(double own, parallel::Communicator& group, const at::TensorOptions& options) {
  if (group.size() == 1) return own;
  at::Tensor parts = at::empty({group.size(), 1}, options);
  group.all_gather(parts, at::full({1}, own, options)).wait();
  const at::Tensor host = parts.to(at::kCPU);
  const double* part = host.const_data_ptr<double>();
  return std::accumulate(part, part + host.numel(), 0.0);
}

/// Counts every parameter once, whichever ranks hold it. Collective.
double gradient_norm(const TrainState& state, const std::vector<at::Tensor>& gradients, const Groups& groups) {
  using parallel::Replicas;
  const parallel::Mesh& mesh = *groups.mesh;
  const auto options = at::TensorOptions(at::kDouble).device(gradients.front().device());
  // With sharding each element's gradient lies on one rank.
  if (mesh.sharding() != parallel::Sharding::kNone) {
    return std::sqrt(sum_over_parts(optim::sum_of_squares(gradients), *groups.tokens, options));
  }
  std::array<std::vector<at::Tensor>, parallel::kAllReplicas.size()> alike;  // by who holds the same elements
  size_t i = 0;
  for (const TrainedParameter& parameter : trained_parameters(*state.model)) {
    const auto found = state.model->placements().find(parameter.name);
    const Replicas replicas = found == state.model->placements().end() ? Replicas::kWorld : found->second.replicas;
    alike[static_cast<size_t>(replicas)].push_back(gradients[i++]);
  }
  double squares = 0;
  for (const Replicas replicas : parallel::kAllReplicas) {
    if (alike[static_cast<size_t>(replicas)].empty()) continue;  // nor has any other rank one
    const double own = optim::sum_of_squares(alike[static_cast<size_t>(replicas)]);
    const std::optional<parallel::Axis> parts = parallel::row_of(replicas).parts;
    squares += parts ? sum_over_parts(own, mesh.group(*parts), options) : own;
  }
  return std::sqrt(squares);
}

/// Names the first tensor that is not finite on this rank, if there is one.
void check_finite(const TrainState& state, const std::vector<at::Tensor>& gradients, double loss) {
  const std::string update = parallel::concat("update ", state.optimizer->updates() + 1, ": ");
  for (const auto& parameter : state.model->named_parameters()) {
    if (!all_finite(parameter.value())) {
      throw Diverged(parallel::concat(update, "the weight ", parameter.key(), " is not finite"));
    }
  }
  size_t i = 0;
  for (const TrainedParameter& parameter : trained_parameters(*state.model)) {
    if (!all_finite(gradients[i++])) {
      throw Diverged(parallel::concat(update, "the gradient of ", parameter.name, " is not finite (loss ", loss, ")"));
    }
  }
}

/// Forward and backward of each micro-batch, and the gradients' sums over ranks.
void make_gradients(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets, const Groups& groups,
                    Tally& tally, PhaseSeconds& seconds, Laps& laps) {
  state.reducer->zero();
  const auto micro_batches = static_cast<int64_t>(batches.size());
  parallel::TraceRecorder* recorder = groups.mesh->schedule()->recorder();
  const auto now = [&] { return recorder == nullptr ? parallel::Moment() : recorder->now(); };
  for (int64_t m = 0; m < micro_batches; ++m) {
    const parallel::Moment forward_begin = now();
    const int64_t update = state.optimizer->updates();
    const moetrain::PassScope pass{.group = *groups.tokens,
                                   .training = true,
                                   .draws = {state.seed, update * state.micro_batches + m},
                                   .update = update - state.begin,
                                   .earlier_choices = tally.choices(),
                                   .recompute = state.recompute};
    const auto output = state.objective->forward(*state.model, batches[static_cast<size_t>(m)].batch, pass,
                                                 {.targets = targets, .micro_batches = micro_batches});
    const at::Tensor loss = output.losses.sum();
    seconds.forward += laps.lap();
    state.reducer->expect(/*last=*/m + 1 == micro_batches);
    const parallel::Moment backward_begin = now();
    torch::autograd::backward({loss}, {});
    state.reducer->end_micro_batch();
    if (recorder != nullptr) recorder->add_phases(forward_begin, backward_begin, now());
    seconds.backward += laps.lap();
    tally.add(output, micro_batches, *groups.tokens);
  }
  state.reducer->finish();
  if (recorder != nullptr) recorder->set_reduced(now());
}

}  // namespace

PhaseSeconds& PhaseSeconds::operator+=(const PhaseSeconds& other) {
  data_wait += other.data_wait;
  data += other.data;
  forward += other.forward;
  backward += other.backward;
  reduce += other.reduce;
  optimizer += other.optimizer;
  return *this;
}

double StepReport::total_loss() const {
  return std::accumulate(losses.begin(), losses.end(), 0.0,
                         [](double sum, const auto& loss) { return sum + loss.second; });
}

double StepReport::imbalance() const {
  double worst = 0;
  for (const LayerLoad& layer : layers) {
    worst = std::max(worst,
                     *std::max_element(layer.load.begin(), layer.load.end()) * static_cast<double>(layer.load.size()));
  }
  return worst;
}

int64_t StepReport::dropped() const {
  return std::accumulate(layers.begin(), layers.end(), int64_t{0},
                         [](int64_t sum, const LayerLoad& layer) { return sum + layer.dropped; });
}

StepReport train_step(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets,
                      const Groups& groups) {
  StepReport report;
  Tally tally;
  Laps laps;
  make_gradients(state, batches, targets, groups, tally, report.seconds, laps);
  tally.reduce(*groups.control, report);
  report.seconds.reduce = laps.lap();
  const parallel::Phase phase(parallel::PhaseName::kOptimizer);
  const std::vector<at::Tensor> gradients = gradients_of(state);
  const double norm = gradient_norm(state, gradients, groups);
  if (!std::isfinite(norm) || !std::isfinite(report.total_loss())) {  // the same verdict on every rank
    parallel::all_ranks(*groups.control, [&] { check_finite(state, gradients, report.total_loss()); });
    parallel::all_ranks(*groups.control, [&] {
      if (groups.control->rank() != 0) return;
      throw Diverged(parallel::concat("update ", state.optimizer->updates() + 1, ": the loss is ", report.total_loss(),
                                      " and the gradient norm ", norm));
    });
  }
  const optim::UpdateReport update = state.optimizer->step(gradients, norm);
  state.reducer->gather_parameters();
  state.model->after_update(tally.choices());
  report.gradient_norm = norm;
  report.learning_rate = update.learning_rate;
  report.seconds.optimizer = laps.lap();
  return report;
}

Rehearsal rehearse(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets, const Groups& groups) {
  parallel::TraceRecorder recorder(parallel::clock_of(state.model->parameters().front().device()));
  groups.mesh->schedule()->record(&recorder);
  Tally tally;
  PhaseSeconds seconds;
  Laps laps;
  make_gradients(state, batches, targets, groups, tally, seconds, laps);
  groups.mesh->schedule()->record(nullptr);
  Rehearsal rehearsal{.trace = recorder.trace()};
  const parallel::Trace& trace = rehearsal.trace;
  at::Tensor slowest =
      at::tensor({parallel::seconds_between(trace.phases.back().forward_begin, trace.reduced)}, at::kDouble);
  groups.control->all_reduce(slowest, parallel::ReduceOp::kMax).wait();
  rehearsal.seconds = slowest.item<double>();
  return rehearsal;
}

}  // namespace launch
