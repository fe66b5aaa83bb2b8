#include "launch/bench/layer_bench.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "launch/bench/product_limit.h"
#include "launch/bench/rounds.h"
#include "launch/interchange/tensors/safetensors.h"
#include "launch/models/model_builder.h"
#include "launch/training/product_choice.h"
#include "launch/training/setup.h"
#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/moe_layer.h"
#include "moetrain/routers/draws.h"
#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/device/accelerator.h"
#include "parallel/gradients/gradient_reducer.h"

namespace launch {
namespace {

constexpr int64_t kVocabulary = 256;  // of the model around the layer, which nothing here reads

/// The first layer of feed-forward experts. UserError where there is none that could be taken out of its model.
const PlannedExperts& layer_of(const Workload& work, const Recipe& recipe) {
  const auto legal = [](const auto&... reason) {
    parallel::user_error("bench layer: ", reason...,
                         "; legal: a recipe whose tokens each visit experts where they are");
  };
  if (recipe.mesh.tensor > 1) legal("mesh.tensor = ", recipe.mesh.tensor, " spreads the tokens of a sequence");
  for (const PlannedBlock& block : work.blocks) {
    if (!block.experts) continue;
    const moetrain::MoeConfig& moe = block.experts->moe;
    if (moe.rows != moetrain::Rows::kTokens) legal("moe.rows = \"", moe.rows, "\"");
    const moetrain::RouterDemands demands = recipe.registry->routers.at(moe.router).demands;
    if (demands.reads_ids || demands.reads_tasks || demands.pre_gated || moe.task_bias || moe.router == "soft")
      legal("moe.router = \"", moe.router, "\" reads more than the tokens themselves");
    return *block.experts;
  }
  parallel::user_error("bench layer: no block of this recipe has experts; legal: moe.layers that names some");
}

/// What the layer holds at its peak: weights and their gradients, rows and what is made of them, and the operands of
/// the largest product alone.
double bytes_of(const Workload& work, const PlannedExperts& layer, const Recipe& recipe) {
  const moetrain::MoeConfig& moe = layer.moe;
  const auto own_share = most_experts(recipe, layer);
  const double rows = static_cast<double>(work.tokens.world * moe.top_k) * own_share;
  const double numbers_of_row = static_cast<double>(4 * layer.row_width + layer.expert.kept + layer.expert.in_backward);
  const double weights = static_cast<double>(moe.experts * layer.expert.parameters) * own_share;
  const double tokens = static_cast<double>(6 * work.tokens.own * recipe.model.width);
  return static_cast<double>(work.element) * (rows * numbers_of_row + weights + tokens) +
         static_cast<double>(work.wide) * weights;  // their gradients
}

void check_fits(const Workload& work, const PlannedExperts& layer, const Recipe& recipe, int64_t ranks) {
  const double model = static_cast<double>(training_bytes(recipe, kVocabulary, ranks, 0));
  const double needed = model + bytes_of(work, layer, recipe), there = physical_memory();
  if (needed <= there) return;
  parallel::user_error("bench layer: ", work.tokens.world, " tokens, ", layer.moe.experts, " experts of ",
                       layer.moe.hidden, " hidden units and the model around them take ", needed / 1e9,
                       " GB on a rank, and this host has ", there / 1e9,
                       " GB; make train.global_batch, moe.experts or moe.hidden smaller");
}

/// A layer by itself, with tokens and a gradient for it.
class LayerOnTokens {
 public:
  LayerOnTokens(const Recipe& recipe, const Workload& work, const Groups& groups, at::Device device)
      : model_(build_model(recipe, kVocabulary, device, groups.mesh)) {
    for (const auto& module : model_->modules()) {
      const auto* layer = dynamic_cast<const moetrain::MoeLayer*>(module.get());
      if (layer != nullptr && (layer_ == nullptr || layer->site().block < layer_->site().block)) layer_ = layer;
    }
    parallel::check_internal(layer_ != nullptr, "a model without the layer that its plan has");
    const int64_t rank = groups.tokens->rank(), ranks = groups.tokens->size();
    const parallel::EvenPart own = parallel::even_part(work.tokens.world, rank, ranks);
    scope_.emplace(moetrain::BatchScope{
        .group = *groups.tokens,
        .global_tokens = work.tokens.world,
        .training = true,
        .first_token = own.begin,
        .draws = {static_cast<uint64_t>(recipe.run.seed), 0},
        .global_sequences = work.tokens.sequences,
        .sequence_T = at::arange(own.begin, own.begin + own.count, at::kLong).floor_divide(work.tokens.length),
        .longest = work.tokens.length});
    const auto options = layer_->parameters().front().options().requires_grad(false);
    const auto drawn = [&](const char* purpose) {
      const int64_t width = recipe.model.width;
      return moetrain::normal_draws(scope_->draws.stream(purpose, 0), own.begin * width, {own.count, width}, options);
    };
    tokens_TD_ = drawn("bench tokens").requires_grad_();
    gradient_TD_ = drawn("bench gradient");
    for (at::Tensor& parameter : layer_->parameters()) {
      if (parameter.requires_grad()) trained_.push_back(std::move(parameter));
    }
    if (parallel::is_accelerator(device)) return;
    gathered_.emplace(trained_, std::make_shared<parallel::LocalCommunicator>());
  }

  int64_t tokens() const { return tokens_TD_.size(0); }
  int64_t first_token() const { return scope_->first_token; }

  /// Forward and backward; gradients are made anew. The device is done with each when its time is taken.
  moetrain::MixedTokens pass(const std::optional<moetrain::RoutingChoices>& forced) {
    forget_gradients();
    const auto begin = std::chrono::steady_clock::now();
    moetrain::MixedTokens mixed = layer_->mix(tokens_TD_, *scope_, {}, forced ? &*forced : nullptr);
    parallel::wait_for_device(tokens_TD_.device());
    forward_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    torch::autograd::backward({mixed.out_TD}, {gradient_TD_});
    parallel::wait_for_device(tokens_TD_.device());
    return mixed;
  }
  /// [s] Of the last pass.
  double forward_seconds() const { return forward_seconds_; }

  /// By name: what went in and came out of a pass.
  std::vector<std::pair<std::string, at::Tensor>> tensors(const moetrain::MixedTokens& mixed) const {
    std::vector<std::pair<std::string, at::Tensor>> all{{"input", tokens_TD_.detach()},
                                                        {"output_gradient", gradient_TD_},
                                                        {"output", mixed.out_TD.detach()},
                                                        {"input_gradient", tokens_TD_.grad()},
                                                        {"chosen", mixed.decision->chosen_TK}};
    for (const auto& parameter : layer_->named_parameters()) {
      all.emplace_back("weight." + parameter.key(), parameter.value().detach());
      if (parameter.value().grad().defined()) all.emplace_back("gradient." + parameter.key(), parameter.value().grad());
    }
    return all;
  }

 private:
  void forget_gradients() {
    tokens_TD_.mutable_grad() = at::Tensor();
    if (gathered_) return gathered_->zero();
    for (at::Tensor& parameter : trained_) parameter.mutable_grad() = at::Tensor();
  }

  std::shared_ptr<moetrain::Model> model_;
  const moetrain::MoeLayer* layer_ = nullptr;
  std::optional<moetrain::BatchScope> scope_;
  at::Tensor tokens_TD_, gradient_TD_;
  std::vector<at::Tensor> trained_;
  /// Of the processor, where experts write their weights' gradients where training gathers them. GPUs' are copied
  /// there, which is no part of a layer.
  std::optional<parallel::GradientReducer> gathered_;
  double forward_seconds_ = 0;
};

void write_tensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<interchange::TensorToWrite> writes;
  for (const auto& [name, tensor] : tensors) {
    const bool whole = tensor.scalar_type() == at::kLong;
    const at::Tensor wide = tensor.to(at::kCPU, whole ? at::kLong : at::kDouble).contiguous();
    writes.push_back({name, whole ? "I64" : "F64", wide.sizes().vec(), [wide](std::span<std::byte> bytes) {
                        std::memcpy(bytes.data(), wide.const_data_ptr(), bytes.size());
                      }});
  }
  interchange::write_safetensors(path, writes);
}

struct LoadRounds {
  parallel::Enum<Load> load;
  Rounds rounds;
  ProductList products;
  std::optional<ProductLimit> limit;
  std::vector<double> forwards, limits, shares, processor_shares;
};

/// The slowest rank's.
double slowest(double own, const Groups& groups) {
  at::Tensor value = at::full({1}, own, at::kDouble);
  groups.control->all_reduce(value, parallel::ReduceOp::kMax).wait();
  return value.item<double>();
}

/// first: the load that this one is held against; null: it is that one. Collective.
void add_results(nlohmann::ordered_json& line, const LoadRounds& own, const LoadRounds* first, const Groups& groups) {
  line.update(own.rounds.to_json());
  line["forward_seconds"] = to_json(middle(own.forwards));
  line["seconds_of_slowest_rank"] = slowest(middle(own.rounds.seconds()).value, groups);
  line["product_flops"] = flops(own.products);
  if (first != nullptr) {
    const std::vector<double>& taken = own.rounds.processor();
    const bool bursts = own.load == Load::kBurst && std::ssize(taken) >= kBurstEvery;
    std::vector<double> ratios;  // of bursts where there are some, for the rest is as the even load
    for (size_t round = 0; round < taken.size(); ++round) {
      if (!bursts || is_burst(static_cast<int64_t>(round)))
        ratios.push_back(taken[round] / first->rounds.processor()[round]);
    }
    line["of_first"] = to_json(middle(ratios));
  }
  if (!own.limit) return;
  line["products_alone"] = to_json(middle(own.limits));
  line["share_of_products"] = to_json(middle(own.shares));
  line["processor_share_of_products"] = to_json(middle(own.processor_shares));
  line["fastest_ways"] = own.limit->ways();
}

}  // namespace

std::vector<nlohmann::ordered_json> bench_layer(const Recipe& recipe, const Groups& groups, at::Device device,
                                                const LayerBenchOptions& options) {
  const int64_t ranks = groups.control->size();
  Workload work;
  const PlannedExperts* planned = nullptr;
  ChoiceShape shape;
  parallel::all_ranks(*groups.control, [&] {
    work = workload_of(recipe, kVocabulary, ranks);
    planned = &layer_of(work, recipe);
    check_fits(work, *planned, recipe, ranks);
    const moetrain::MoeConfig& moe = planned->moe;
    shape = {.tokens = work.tokens.world,
             .top_k = moe.top_k,
             .experts = moe.experts,
             .total = planned->kinds.total(),
             .of_first_rank = parallel::expert_map(recipe.mesh, moe.experts).count(0)};
    for (const auto& load : options.loads) {
      if (load != Load::kOwn) rows_under(load, shape, 0);
    }
  });
  if (recipe.run.matrix_products == MatrixProducts::kMeasured)
    moetrain::use_products(measured_rule(recipe, kVocabulary, *groups.control));
  LayerOnTokens layer(recipe, work, groups, device);
  shape.first_token = layer.first_token();
  shape.own_tokens = layer.tokens();

  std::vector<LoadRounds> of_load(options.loads.size());
  const auto limits = options.limit && !parallel::is_accelerator(device);
  for (size_t i = 0; i < of_load.size(); ++i) {
    of_load[i].load = options.loads[i];
    const auto forced = forced_choices(options.loads[i], shape, 0);
    of_load[i].products = recorded_products([&] {
      const moetrain::MixedTokens mixed = layer.pass(forced);
      if (i == 0 && !options.tensors.empty())
        parallel::all_ranks(*groups.control, [&] { write_tensors(options.tensors, layer.tensors(mixed)); });
    });
    if (limits) of_load[i].limit.emplace(of_load[i].products);
  }
  constexpr int64_t kWarming = 2;
  for (int64_t round = -kWarming; round < options.rounds; ++round) {
    for (size_t i = 0; i < of_load.size(); ++i) {
      LoadRounds& own = of_load[i];
      const auto forced = forced_choices(options.loads[i], shape, std::max<int64_t>(round, 0));
      groups.control->all_reduce(at::zeros({1}, at::kLong), parallel::ReduceOp::kSum).wait();  // all begin together
      own.rounds.time([&] { layer.pass(forced); }, round >= 0);
      if (round >= 0) own.forwards.push_back(layer.forward_seconds());
      if (!own.limit || round < 0) continue;
      const ProductLimit::Seconds alone = own.limit->run();
      own.limits.push_back(alone.wall);
      own.shares.push_back(alone.wall / own.rounds.seconds().back());
      own.processor_shares.push_back(alone.processor / own.rounds.processor().back());
    }
  }

  std::vector<nlohmann::ordered_json> lines;
  for (size_t i = 0; i < of_load.size(); ++i) {
    nlohmann::ordered_json line{{"bench", "layer"},
                                {"load", options.loads[i].name()},
                                {"tokens", shape.tokens},
                                {"width", recipe.model.width},
                                {"hidden", planned->moe.hidden},
                                {"experts", shape.experts},
                                {"top_k", shape.top_k},
                                {"activation", recipe.model.activation.name()},
                                {"precision", recipe.run.precision.name()},
                                {"threads", recipe.run.threads},
                                {"ranks", ranks}};
    add_results(line, of_load[i], i > 0 ? &of_load[0] : nullptr, groups);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace launch
