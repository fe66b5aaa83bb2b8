#include "launch/evaluation/evaluation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "launch/batches/batches.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Sums over all batches, on this rank.
struct Sums {
  at::Tensor nll_G, tokens_G, correct_G;    // float64
  std::vector<moetrain::LayerSite> layers;  // of experts
  std::vector<at::Tensor> choices_GE;       // float64, one a layer
};

/// How often the rows of each group chose each expert: [groups, E].
at::Tensor choices_of(const at::Tensor& expert_TK, const at::Tensor& group_T, int64_t groups, int64_t experts) {
  const at::Tensor pair_TK = group_T.unsqueeze(1) * experts + expert_TK;
  const at::Tensor chosen = pair_TK.masked_select((expert_TK >= 0) & (group_T >= 0).unsqueeze(1));
  return at::bincount(chosen, {}, groups * experts).to(at::kCPU, at::kDouble).view({groups, experts});
}

void add_batch(Sums& sums, moetrain::Model& model, const moetrain::Objective& objective, const MicroBatch& batch,
               const moetrain::PassScope& pass, const parallel::Mesh& mesh) {
  const int64_t groups = sums.nll_G.numel();
  const auto output = objective.score(model, batch.batch, pass);
  const at::Tensor target_T = counted_groups(batch, batch.batch.predicts, moetrain::Side::kTokens, mesh);
  const at::Tensor kept_T = (target_T >= 0).nonzero().squeeze(1), group_T = target_T.index_select(0, kept_T);
  sums.nll_G.index_add_(0, group_T.to(at::kCPU), output.nll_T.index_select(0, kept_T).to(at::kCPU, at::kDouble));
  const at::Tensor correct_T = output.correct_T.defined() ? output.correct_T : at::full_like(output.nll_T, kNaN);
  sums.correct_G.index_add_(0, group_T.to(at::kCPU), correct_T.index_select(0, kept_T).to(at::kCPU, at::kDouble));
  sums.tokens_G.add_(at::bincount(group_T, {}, groups).to(at::kCPU, at::kDouble));
  sums.choices_GE.resize(output.routing.size());
  sums.layers.clear();
  for (size_t i = 0; i < output.routing.size(); ++i) {
    const moetrain::LayerRouting& routing = output.routing[i];
    const at::Tensor count =
        choices_of(routing.decision.chosen_TK, counted_groups(batch, routing.rows, routing.side, mesh), groups,
                   routing.decision.assignment.num_experts);
    sums.layers.push_back(routing.site);
    sums.choices_GE[i] = sums.choices_GE[i].defined() ? sums.choices_GE[i] + count : count;
  }
}

void reduce(Sums& sums, parallel::Communicator& control) {
  control.all_reduce(sums.nll_G, parallel::ReduceOp::kSum).wait();
  control.all_reduce(sums.tokens_G, parallel::ReduceOp::kSum).wait();
  control.all_reduce(sums.correct_G, parallel::ReduceOp::kSum).wait();
  for (at::Tensor& choices : sums.choices_GE) control.all_reduce(choices, parallel::ReduceOp::kSum).wait();
}

void add_score(GroupScore& sum, const GroupScore& part) {
  sum.nll += part.nll;
  sum.tokens += part.tokens;
  sum.bytes += part.bytes;
  sum.correct += part.correct;
}

Evaluation summarize(const Sums& sums, const std::vector<HeldOutGroup>& groups) {
  Evaluation result;
  result.overall.name = "all";
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto index = static_cast<int64_t>(g);
    const GroupScore score{groups[g].name, sums.nll_G[index].item<double>(),
                           static_cast<int64_t>(sums.tokens_G[index].item<double>()), groups[g].bytes,
                           sums.correct_G[index].item<double>()};
    add_score(result.overall, score);
    result.groups.push_back(score);
    if (groups[g].source.empty()) continue;
    if (result.sources.empty() || result.sources.back().name != groups[g].source) {
      result.sources.push_back({groups[g].source});
    }
    add_score(result.sources.back(), score);
  }
  for (size_t i = 0; i < sums.layers.size(); ++i) {
    GroupRouting routing{.site = sums.layers[i], .choices = {}};
    for (int64_t g = 0; g < sums.choices_GE[i].size(0); ++g) {
      const at::Tensor row = sums.choices_GE[i][g].contiguous();
      routing.choices.emplace_back(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
    }
    result.routing.push_back(std::move(routing));
  }
  return result;
}

ScoreRecord record_of(const GroupScore& score) {
  return {.loss = score.loss(),
          .bits_per_byte = score.bits_per_byte(),
          .accuracy = score.accuracy(),
          .tokens = static_cast<double>(score.tokens),
          .bytes = static_cast<double>(score.bytes)};
}

}  // namespace

double GroupScore::loss() const { return tokens > 0 ? nll / static_cast<double>(tokens) : kNaN; }

double GroupScore::accuracy() const { return tokens > 0 ? correct / static_cast<double>(tokens) : kNaN; }

double GroupScore::bits_per_byte() const {
  return bytes > 0 ? nll / std::numbers::ln2 / static_cast<double>(bytes) : kNaN;
}

std::string describe(const GroupScore& score) {
  if (!std::isfinite(score.loss())) return "no finite loss";
  if (!std::isfinite(score.accuracy())) return parallel::concat("loss ", score.loss());
  if (score.bytes == 0) {
    return parallel::concat("loss ", score.loss(), " nats/target, accuracy ", score.accuracy());
  }
  return parallel::concat("loss ", score.loss(), " nats/token, ", score.bits_per_byte(), " bits per byte");
}

Evaluation evaluate(moetrain::Model& model, const moetrain::Objective& objective, const HeldOutBatches& batches,
                    const Groups& groups, UseRecorder* recorder) {
  const at::NoGradGuard no_gradient;
  const at::Device device = model.parameters().front().device();
  const std::vector<HeldOutGroup> held_out = batches.groups();
  const auto count = static_cast<int64_t>(held_out.size());
  Sums sums{.nll_G = at::zeros({count}, at::kDouble),
            .tokens_G = at::zeros({count}, at::kDouble),
            .correct_G = at::zeros({count}, at::kDouble)};
  for (int64_t i = 0; i < batches.count(); ++i) {
    // No seed: a stochastic router draws by place in the held-out text, the same for every run and batch.
    const MicroBatch batch = to_device(batches.read(i), device);
    if (recorder != nullptr) {
      recorder->of_batch(
          [&](moetrain::Rows rows, moetrain::Side side) { return counted_groups(batch, rows, side, *groups.mesh); });
    }
    add_batch(sums, model, objective, batch, {.group = *groups.tokens, .observer = recorder}, *groups.mesh);
  }
  reduce(sums, *groups.control);
  Evaluation result = summarize(sums, held_out);
  parallel::all_ranks(*groups.control, [&] {
    if (groups.control->rank() != 0 || std::isfinite(result.overall.nll)) return;  // the same on every rank
    parallel::user_error(
        "the loss on held-out text is ", result.overall.nll, ": this model has diverged, though its ",
        "weights are finite; legal: an older checkpoint (evaluate --update), or training with a lower ",
        "optimizer.learning_rate");
  });
  return result;
}

std::vector<std::string> group_names(const HeldOutBatches& batches) {
  std::vector<std::string> names;
  for (const HeldOutGroup& group : batches.groups()) names.push_back(group.name);
  return names;
}

EvaluationRecord record_of(const Evaluation& evaluation, int64_t update) {
  EvaluationRecord record{record_of(evaluation.overall), update};
  for (const GroupScore& score : evaluation.groups) record.groups.emplace_back(score.name, record_of(score));
  if (!evaluation.sources.empty()) record.sources.emplace();
  for (const GroupScore& score : evaluation.sources) record.sources->emplace_back(score.name, record_of(score));
  return record;
}

EvaluationFile file_of(const Evaluation& evaluation, int64_t update) {
  EvaluationFile file{record_of(evaluation, update)};
  for (const GroupRouting& layer : evaluation.routing) {
    RoutingRecord map{.layer = layer.site.block,
                      .slot = said_slot(layer.site.slot),
                      .experts = static_cast<int64_t>(layer.choices.front().size())};
    for (size_t g = 0; g < layer.choices.size(); ++g) {
      std::vector<double> share = layer.choices[g];
      const double total = std::max(1.0, std::accumulate(share.begin(), share.end(), 0.0));
      for (double& value : share) value /= total;
      map.groups.emplace_back(evaluation.groups[g].name, std::move(share));
    }
    file.routing.push_back(std::move(map));
  }
  return file;
}

}  // namespace launch
