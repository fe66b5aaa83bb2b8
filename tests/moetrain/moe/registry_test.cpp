// Every router x capacity rule x kind of experts that may be combined, and the refused combinations with their reasons.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "moetrain/losses/load_balance.h"
#include "moetrain/moe/check_experts.h"
#include "moetrain/moe/moe_layer.h"
#include "moetrain/routers/soft_router.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/task_table.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kRegistryTokens = 24, kRegistryWidth = 4, kRegistrySequence = 4;

/// What a recipe has to say for each router, every loss that it may have switched on. A new router has a row as its
/// preset demands it; it needs one here where that is not legal or not all.
const std::map<std::string, MoeConfig>& registry() {
  static const std::map<std::string, MoeConfig> rows = [] {
    MoeConfig learned{.experts = 5, .top_k = 2, .hidden = 3};
    for (const std::string& loss : builtin_losses().names()) learned.losses[loss] = loss == "load" ? 0.0 : 0.3;
    learned.jitter = 0.1;
    const auto with = [](MoeConfig config, const char* router, int64_t top_k, const char* gate) {
      config.router = router;
      config.top_k = top_k;
      config.gate = gate;
      return config;
    };
    const MoeConfig fixed{.experts = 5, .hidden = 3, .losses = {{"load_balance", 0}, {"router_z", 0}}};
    std::map<std::string, MoeConfig> all{{"top_k", with(learned, "top_k", 2, "sum1")},
                                         {"switch", with(learned, "switch", 1, "raw")},
                                         {"gshard", with(learned, "gshard", 2, "sum1_kept")},
                                         {"noisy_top_k", with(learned, "noisy_top_k", 2, "sum1")},
                                         {"cosine", with(learned, "cosine", 2, "raw")},
                                         {"mlp", with(learned, "mlp", 2, "sum1")},
                                         {"sigmoid_bias", with(learned, "sigmoid_bias", 2, "sum1")},
                                         {"expert_choice", with(learned, "expert_choice", 2, "raw")},
                                         {"sinkhorn", with(learned, "sinkhorn", 2, "raw")},
                                         {"soft", with(learned, "soft", 1, "raw")},
                                         {"hash", with(fixed, "hash", 1, "hard")},
                                         {"thor", with(fixed, "thor", 1, "hard")}};
    for (const std::string& name : builtin_routers().names()) {
      const RouterDemands demands = builtin_routers().at(name).demands;
      const MoeConfig& base = demands.learned ? learned : fixed;
      all.try_emplace(name, with(base, name.c_str(), demands.top_k > 0 ? demands.top_k : 2,
                                 parallel::Enum(demands.gates.front()).name()));
    }
    set_task_table(all["task_table"], "a: 0,1; b: 3,2,1", 3);
    all["noisy_top_k"].losses["load"] = 0.5;
    all["gshard"].own<LoadBalanceConfig>().choices = "first";
    all["mlp"].gating_residual = true;
    all["hecto"].gate = "raw";  // a straight-through gradient is none of finite differences
    all["sigmoid_bias"].own<LoadBalanceConfig>().over = "sequence";
    all["sigmoid_bias"].route_scale = 2.5;
    all["expert_choice"].losses["load_balance"] = 0;
    all["pre_gated"].jitter = 0;
    all["soft"].losses["load_balance"] = 0;
    all["soft"].jitter = 0;
    all["soft"].own<SoftConfig>().slots = 2;
    return all;
  }();
  return rows;
}

/// What the names mean, with two tasks.
MoeTables registry_tables() {
  MoeTables tables;
  tables.tasks = {"a", "b"};
  return tables;
}

const std::map<std::string, std::pair<std::string, std::string>> kCapacityRules{
    {"dropless", {"dropless", "position"}},
    {"position", {"factor", "position"}},
    {"probability", {"factor", "probability"}},
    {"random", {"factor", "random"}}};

const std::set<std::pair<std::string, std::string>> kRefused{
    {"expert_choice", "dropless"},  // an expert's choice is what it takes of all tokens: there is a capacity
    {"expert_choice", "position"},  // it takes the most probable ones
    {"expert_choice", "random"},    // the same
    {"hash", "probability"},        // all its gates are equal: none is the lowest
    {"soft", "position"},           // every token is in every slot: there is nothing to drop
    {"soft", "probability"},        // the same
    {"soft", "random"},             // the same
    {"task_table", "probability"},  // all gates of a token are equal
    {"thor", "position"},           // its load is even in expectation and the method drops nothing
    {"thor", "probability"},        // the same
    {"thor", "random"},             // the same
};

/// What the experts are: an activation, other kinds beside the FFN experts, or another way around them.
struct ExpertForm {
  Activation activation = Activation::kSwiglu;
  void (*change)(MoeConfig&) = [](MoeConfig&) {};
};

const std::map<std::string, ExpertForm> kExpertForms{
    {"swiglu", {}},
    {"swiglu_of_31", {.change = [](MoeConfig& c) { c.experts = 31; }}},  // more than there are tokens
    {"gelu", {.activation = Activation::kGelu}},
    {"relu", {.activation = Activation::kRelu}},
    {"zero", {.change = [](MoeConfig& c) { c.zero_experts = 1; }}},
    {"copy", {.change = [](MoeConfig& c) { c.copy_experts = 1; }}},
    {"constant", {.change = [](MoeConfig& c) { c.constant_experts = 2; }}},
    {"null", {.change = [](MoeConfig& c) { c.null_experts = 4; }}},
    {"latent", {.change = [](MoeConfig& c) { c.latent = 2; }}},
    {"task_bias", {.change = [](MoeConfig& c) { c.task_bias = true; }}},
    {"residual",
     {.change = [](MoeConfig& c) { c.shared_hidden = 3, c.shared_gate = false, c.shared_combine = "residual"; }}}};

/// hash, thor and task_table do not learn, and soft's experts see mixtures of a whole sequence.
bool learns_of_tokens(const std::string& router) {
  return router != "soft" && builtin_routers().at(router).demands.learned;
}

/// Experts that compute nothing are for a router that learns which tokens need less, what a task adds for one that
/// learns.
bool needs_learned_router(const std::string& form) {
  return form == "task_bias" ||
         std::ranges::any_of(expert_kind_table(), [&](const ExpertKind& kind) { return kind.name == form; });
}

struct RegistryCase {
  std::string router, rule, form;
  std::string name() const { return router + "_" + rule + "_" + form; }
};

MoeConfig config_of(const RegistryCase& each) {
  MoeConfig config = registry().at(each.router);
  const auto& [capacity, drop] = kCapacityRules.at(each.rule);
  config.capacity = capacity;
  config.own<BoundConfig>() = {.factor = 0.8, .drop = drop};
  kExpertForms.at(each.form).change(config);
  return config;
}

bool refused(const MoeConfig& config) {
  try {
    const MoeTables tables = registry_tables();
    const RouterPreset& router = tables.routers.at(config.router);
    check_router(config, router, builtin_capacities().at(config.capacity), {.causal = false, .tasks = tables.tasks});
    check_losses(config, router.demands, tables.losses);
    check_experts(config, kRegistryWidth, tables);
  } catch (const parallel::UserError&) {
    return true;
  }
  return false;
}

bool listed_as_refused(const RegistryCase& each) {
  return kRefused.contains({each.router, each.rule}) ||
         (!learns_of_tokens(each.router) && needs_learned_router(each.form)) ||
         (each.router == "pre_gated" && each.form == "task_bias");  // one decision for all layers
}

std::vector<RegistryCase> all_cases() {
  std::vector<RegistryCase> all;
  for (const std::string& router : builtin_routers().names()) {
    for (const auto& [rule, keys] : kCapacityRules) {
      for (const auto& [form, keys_of_form] : kExpertForms) all.push_back({router, rule, form});
    }
  }
  return all;
}

std::vector<RegistryCase> legal_cases() {
  std::vector<RegistryCase> all = all_cases();
  std::erase_if(all, listed_as_refused);
  return all;
}

TEST(Registry, EveryExpertKindHasAForm) {
  for (const ExpertKind& kind : expert_kind_table()) {
    EXPECT_TRUE(kind.count == &ExpertKinds::ffn || kExpertForms.contains(kind.name)) << kind.name;
  }
}

TEST(Registry, RefusedCombinationsAreTheList) {
  for (const RegistryCase& each : all_cases()) {
    EXPECT_EQ(refused(config_of(each)), listed_as_refused(each)) << each.name();
  }
}

class RegistryTest : public testing::TestWithParam<RegistryCase> {
 protected:
  /// The logits of the model's one router are a function of the tokens here.
  BatchScope scope_of(parallel::Communicator& group, int64_t first, const at::Tensor& ids,
                      const at::Tensor& tokens_TD) const {
    const at::Tensor place_T = at::arange(first, first + ids.size(0), at::kLong);
    return {.group = group,
            .global_tokens = kRegistryTokens,
            .training = true,
            .first_token = first,
            .draws = {.seed = 5, .step = 2},
            .global_sequences = (kRegistryTokens + kRegistrySequence - 1) / kRegistrySequence,
            .sequence_T = place_T.div(kRegistrySequence, "floor"),
            .task_T = place_T.div(kRegistrySequence, "floor").remainder(2),
            .token_ids_T = ids,
            .pre_gate_TE = at::tanh(tokens_TD.matmul(entrance_))};
  }
  MoeOutput alone(const at::Tensor& tokens_TD) {
    parallel::LocalCommunicator group;
    return layer_->forward(tokens_TD, scope_of(group, 0, ids_, tokens_TD), previous_);
  }
  static at::Tensor probed(const at::Tensor& out_TD, const at::Tensor& probe_TD, const LossTerms& losses) {
    const at::Tensor sum = (out_TD * probe_TD).sum();
    return losses.terms().empty() ? sum : sum + losses.sum();
  }
  std::vector<at::Tensor> gradients_of(const at::Tensor& loss, at::Tensor tokens_TD) {
    std::vector<at::Tensor> leaves = layer_->parameters(), gradients;
    leaves.push_back(tokens_TD);
    torch::autograd::backward({loss}, {});
    for (at::Tensor& leaf : leaves) {
      gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
      leaf.mutable_grad() = at::Tensor();
    }
    return gradients;
  }
  static void expect_close(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
    if (b.numel() == 0) return;
    const double scale = std::max(b.abs().max().item<double>(), 1e-3);
    EXPECT_LE((a - b).abs().max().item<double>() / scale, 1e-11) << what;
  }

  std::shared_ptr<MoeLayer> layer_of(at::ScalarType type) const {
    return std::make_shared<MoeLayer>(ParameterSource(3, type), config_,
                                      MoeLayer::Shape{.width = kRegistryWidth,
                                                      .activation = kExpertForms.at(GetParam().form).activation,
                                                      .std = 0.8,
                                                      .output_std = 0.9,
                                                      .layer = 1,
                                                      .previous_experts = 3,
                                                      .causal = false},
                                      registry_tables());
  }

  const MoeConfig config_ = config_of(GetParam());
  const std::shared_ptr<MoeLayer> layer_ = layer_of(at::kDouble);
  const at::Tensor tokens_ = random_tensor("registry tokens", {kRegistryTokens, kRegistryWidth});
  const at::Tensor probe_ = random_tensor("registry probe", {kRegistryTokens, kRegistryWidth});
  const at::Tensor previous_ = random_tensor("registry logits of the layer before", {kRegistryTokens, 3});
  const at::Tensor entrance_ = random_tensor("registry entrance", {kRegistryWidth, expert_kinds(config_).total()});
  const at::Tensor ids_ = at::arange(kRegistryTokens, at::kLong) * 7 % 11;
};

TEST_P(RegistryTest, ForwardIsFinite) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const MoeOutput output = alone(tokens_);
  EXPECT_TRUE(at::isfinite(output.out_TD).all().item<bool>());
  for (const LossTerm& loss : output.losses.terms()) EXPECT_TRUE(at::isfinite(loss.share).item<bool>()) << loss.name;
  const bool fixed = !builtin_routers().at(config_.router).demands.learned;
  const size_t refused = (config_.router != "noisy_top_k") + (config_.losses.at("load_balance").value == 0);
  EXPECT_EQ(output.losses.terms().size(), fixed ? 0 : builtin_losses().names().size() - refused);
  if (config_.router == "soft") return;  // its experts take slots
  EXPECT_EQ(output.decision.global_choices_E.sum().item<int64_t>(),
            (output.decision.chosen_TK >= 0).sum().item<int64_t>());
  if (config_.router == "expert_choice") return;  // every expert is busy, and no choice is dropped
  const int64_t idle = (output.decision.global_choices_E == 0).sum().item<int64_t>();
  EXPECT_TRUE(config_.experts == 5 || idle > 0);
  EXPECT_TRUE(config_.experts != 5 || (output.decision.dropped > 0) == (config_.capacity == "factor"));
}

TEST_P(RegistryTest, GradientsEqualFiniteDifferences) {
  if (test_world()->size() > 1) return;  // the same at every rank count, and most of this file's time
  const at::Tensor tokens = tokens_.clone().requires_grad_(true);
  std::vector<at::Tensor> inputs = layer_->parameters();
  inputs.push_back(tokens);
  expect_gradients(
      [&] {
        const MoeOutput output = alone(tokens);
        return probed(output.out_TD, probe_, output.losses);
      },
      inputs, 1e-6, /*samples=*/4);
}

TEST_P(RegistryTest, ShardsOverRanksEqualOneRank) {
  const at::Tensor tokens = tokens_.clone().requires_grad_(true);
  const MoeOutput whole = alone(tokens);
  const auto expected = gradients_of(probed(whole.out_TD, probe_, whole.losses), tokens);
  for (const auto& split : token_splits(kRegistryTokens, test_world()->size())) {
    const int64_t first = std::accumulate(split.begin(), split.begin() + test_world()->rank(), int64_t{0});
    const at::Tensor mine = shard_of(tokens_, split).clone().requires_grad_(true);
    const MoeOutput here =
        layer_->forward(mine, scope_of(*test_world(), first, shard_of(ids_, split), mine), shard_of(previous_, split));
    EXPECT_TRUE(here.decision.assignment.expert_TK.equal(shard_of(whole.decision.assignment.expert_TK, split)));
    expect_close(here.out_TD, shard_of(whole.out_TD, split), "output");
    for (size_t i = 0; i < whole.losses.terms().size(); ++i) {
      expect_close(sum_over_ranks(here.losses.terms()[i].share), whole.losses.terms()[i].share,
                   here.losses.terms()[i].name);
    }
    const auto got = gradients_of(probed(here.out_TD, shard_of(probe_, split), here.losses), mine);
    for (size_t i = 0; i + 1 < got.size(); ++i) {
      expect_close(sum_over_ranks(got[i]), expected[i], "parameter " + std::to_string(i));
    }
    expect_close(got.back(), shard_of(expected.back(), split), "tokens");
  }
}

TEST_P(RegistryTest, EvaluationDropsNothingAndDrawsNoNoise) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const at::NoGradGuard no_gradient;
  parallel::LocalCommunicator group;
  BatchScope scope = scope_of(group, 0, ids_, tokens_);
  scope.training = false;
  const MoeOutput first = layer_->forward(tokens_, scope, previous_);
  EXPECT_EQ(first.decision.dropped, 0);
  EXPECT_TRUE(first.losses.terms().empty());
  scope.draws.step = 3;
  EXPECT_TRUE(config_.router == "thor" || layer_->forward(tokens_, scope, previous_).out_TD.equal(first.out_TD));
}

/// A layer of bf16 decides, to the bit, what one of float32 does whose weights and tokens are the same numbers.
TEST_P(RegistryTest, LowPrecisionIsRoutedInFloat32) {
  if (GetParam().form != "swiglu") return;  // routers and capacities are what this is about
  const at::NoGradGuard no_gradient;
  const auto low = layer_of(at::kBFloat16), wide = layer_of(at::kFloat);
  for (size_t i = 0; i < low->parameters().size(); ++i) wide->parameters()[i].copy_(low->parameters()[i]);
  parallel::LocalCommunicator group;
  const at::Tensor tokens = tokens_.to(at::kBFloat16), previous = previous_.to(at::kFloat);
  const BatchScope scope = scope_of(group, 0, ids_, tokens.to(at::kDouble));
  const RoutingDecision got = low->forward(tokens, scope, previous).decision,
                        wanted = wide->forward(tokens.to(at::kFloat), scope, previous).decision;
  const std::pair<at::Tensor, at::Tensor> pairs[] = {{got.logits_TE, wanted.logits_TE},
                                                     {got.probabilities_TE, wanted.probabilities_TE},
                                                     {got.chosen_TK, wanted.chosen_TK},
                                                     {got.gate_TK, wanted.gate_TK},
                                                     {got.assignment.expert_TK, wanted.assignment.expert_TK}};
  for (const auto& [a, b] : pairs) {
    ASSERT_EQ(a.defined(), b.defined());
    if (!a.defined()) continue;
    EXPECT_EQ(a.scalar_type(), b.scalar_type());
    EXPECT_TRUE(a.equal(b)) << a << b;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RegistryTest, testing::ValuesIn(legal_cases()),
                         [](const auto& each) { return each.param.name(); });

}  // namespace
}  // namespace moetrain
