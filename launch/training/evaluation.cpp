#include "launch/training/evaluation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "launch/training/batches.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// Sums over all windows, on this rank.
struct Sums {
  at::Tensor nll_G, tokens_G;          // float64
  std::vector<int64_t> layers;         // numbers of the MoE blocks
  std::vector<at::Tensor> choices_GE;  // float64, one a layer
};

void add_batch(Sums& sums, moetrain::DecoderLm& model, const DeviceBatch& batch, const moetrain::BatchScope& scope) {
  const int64_t groups = sums.nll_G.numel();
  const auto output = moetrain::next_token(model, batch.inputs, scope, {});
  const at::Tensor counted_T = batch.inputs.targets_SL.flatten() != data::TokenBatch::kIgnored;
  const at::Tensor kept_T = counted_T.nonzero().squeeze(1);
  const at::Tensor group_T = batch.groups_T.index_select(0, kept_T);
  sums.nll_G.index_add_(0, group_T.to(at::kCPU), output.nll_T.index_select(0, kept_T).to(at::kCPU, at::kDouble));
  sums.tokens_G.add_(at::bincount(group_T, {}, groups).to(at::kCPU, at::kDouble));
  sums.choices_GE.resize(output.routing.size());
  sums.layers.clear();
  for (size_t i = 0; i < output.routing.size(); ++i) {
    const auto& [layer, decision] = output.routing[i];
    const int64_t experts = decision.assignment.num_experts;
    const at::Tensor expert_TK = decision.assignment.expert_TK.index_select(0, kept_T);
    const at::Tensor pair = (group_T.unsqueeze(1) * experts + expert_TK).flatten();
    const at::Tensor count = at::bincount(pair, {}, groups * experts).to(at::kCPU, at::kDouble).view({groups, experts});
    sums.layers.push_back(layer);
    sums.choices_GE[i] = sums.choices_GE[i].defined() ? sums.choices_GE[i] + count : count;
  }
}

void reduce(Sums& sums, parallel::Communicator& control) {
  control.all_reduce(sums.nll_G, parallel::ReduceOp::kSum).wait();
  control.all_reduce(sums.tokens_G, parallel::ReduceOp::kSum).wait();
  for (at::Tensor& choices : sums.choices_GE) control.all_reduce(choices, parallel::ReduceOp::kSum).wait();
}

Evaluation summarize(const Sums& sums, const data::TokenCorpus& corpus, const data::TokenStream& stream) {
  Evaluation result;
  result.overall.name = "all";
  for (size_t g = 0; g < corpus.groups().size(); ++g) {
    const auto index = static_cast<int64_t>(g);
    const GroupScore score{corpus.groups()[g], sums.nll_G[index].item<double>(),
                           static_cast<int64_t>(sums.tokens_G[index].item<double>()), stream.bytes_of_group(index)};
    result.overall.nll += score.nll;
    result.overall.tokens += score.tokens;
    result.overall.bytes += score.bytes;
    result.groups.push_back(score);
  }
  for (size_t i = 0; i < sums.layers.size(); ++i) {
    GroupRouting routing{.layer = sums.layers[i]};
    for (int64_t g = 0; g < sums.choices_GE[i].size(0); ++g) {
      const at::Tensor row = sums.choices_GE[i][g].contiguous();
      routing.choices.emplace_back(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
    }
    result.routing.push_back(std::move(routing));
  }
  return result;
}

nlohmann::json score_json(const GroupScore& score) {
  return {{"loss", score.loss()},
          {"bits_per_byte", score.bits_per_byte()},
          {"tokens", score.tokens},
          {"bytes", score.bytes}};
}

}  // namespace

double GroupScore::bits_per_byte() const {
  return nll / std::numbers::ln2 / static_cast<double>(bytes > 0 ? bytes : 1);
}

Evaluation evaluate(moetrain::DecoderLm& model, const data::TokenCorpus& corpus, const EvaluationOptions& options,
                    const Groups& groups) {
  const at::NoGradGuard no_gradient;
  const data::TokenStream stream = corpus.stream(data::Split::kHeldOut);
  if (stream.size() == 0) parallel::user_error("the token file holds out no document; prepare it with --heldout > 0");
  const at::Device device = model.parameters().front().device();
  const auto group_count = static_cast<int64_t>(corpus.groups().size());
  Sums sums{.nll_G = at::zeros({group_count}, at::kDouble), .tokens_G = at::zeros({group_count}, at::kDouble)};
  const int64_t windows = data::evaluation_windows(stream, options.sequence_length);
  for (int64_t begin = 0; begin < windows; begin += options.batch) {
    const int64_t count = std::min(options.batch, windows - begin);
    const data::IndexRange own = data::split_range(count, groups.shard);
    std::vector<int64_t> indices(static_cast<size_t>(own.end - own.begin));
    std::iota(indices.begin(), indices.end(), begin + own.begin);
    const int64_t tokens = count * options.sequence_length;
    const BatchPlace place{.global_tokens = tokens, .first_token = (begin + own.begin) * options.sequence_length};
    const DeviceBatch batch = to_device(data::read_windows(stream, options.sequence_length, indices), place, device);
    // No seed: a stochastic router draws by place in the held-out text, the same for every run and batch.
    add_batch(sums, model, batch,
              {.group = *groups.tokens, .global_tokens = tokens, .training = false, .first_token = place.first_token});
  }
  reduce(sums, *groups.control);
  return summarize(sums, corpus, stream);
}

nlohmann::json to_json(const Evaluation& evaluation, bool with_routing) {
  nlohmann::json json = score_json(evaluation.overall);
  json["groups"] = nlohmann::json::object();
  for (const GroupScore& score : evaluation.groups) json["groups"][score.name] = score_json(score);
  if (!with_routing) return json;
  json["routing"] = nlohmann::json::array();
  for (const GroupRouting& layer : evaluation.routing) {
    nlohmann::json groups = nlohmann::json::object();
    for (size_t g = 0; g < layer.choices.size(); ++g) {
      std::vector<double> share = layer.choices[g];
      const double total = std::max(1.0, std::accumulate(share.begin(), share.end(), 0.0));
      for (double& value : share) value /= total;
      groups[evaluation.groups[g].name] = share;
    }
    json["routing"].push_back({{"layer", layer.layer}, {"experts", layer.choices.front().size()}, {"groups", groups}});
  }
  return json;
}

}  // namespace launch
