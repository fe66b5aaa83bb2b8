#include "moetrain/moe/attention_modules.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/losses/loss_terms.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kModulesWidth = 6, kModuleHeads = 4, kModuleHidden = 16;

struct ModulesCase {
  const char* name;
  const char* weights;
  const char* positions;
  int64_t kv_heads;
  const char* expert;
  const char* capacity;
};

class AttentionModulesTest : public testing::TestWithParam<ModulesCase> {
 protected:
  static MoeConfig config() {
    MoeConfig config{.router = "mlp", .experts = 5, .top_k = 2, .expert = GetParam().expert, .hidden = kModuleHidden};
    config.gate = "raw", config.capacity = GetParam().capacity, config.slot = Slot::kAttention;
    config.own<BoundConfig>().factor = 0.7;
    config.losses = {{"mutual_information", 0.3}, {"load_balance", 0}, {"router_z", 0}};
    return config;
  }
  static AttentionModules::Shape shape() {
    AttentionModules::Shape shape{
        .site = {.block = 1, .slot = Slot::kAttention, .blocks = 3}, .std = 0.5, .output_std = 0.4};
    shape.attention = {.width = kModulesWidth,
                       .heads = kModuleHeads,
                       .kv_heads = GetParam().kv_heads,
                       .rotary = std::string(GetParam().positions) == "rotary"};
    shape.attention.options.weights = GetParam().weights;
    shape.attention.options.positions = GetParam().positions;
    return shape;
  }

  MixedTokens mix(const at::Tensor& input_TD, int64_t length, KeyValueCache* cache = nullptr, bool training = false) {
    parallel::LocalCommunicator alone;
    return layer_->mix(input_TD, scope(alone, input_TD, length, training), cache, {}, nullptr);
  }
  static BatchScope scope(parallel::Communicator& group, const at::Tensor& input_TD, int64_t length, bool training) {
    BatchScope scope{.group = group, .global_tokens = input_TD.size(0), .training = training};
    scope.sequences = Sequences::uniform(input_TD.size(0) / length, length, at::kCPU);
    return scope;
  }

  /// Every module of every token by itself: its query, what it sees, its output.
  at::Tensor by_hand(const at::Tensor& input_TD, int64_t length, const RoutingDecision& decision) {
    const auto weights = layer_->named_parameters();
    const int64_t T = input_TD.size(0), G = GetParam().kv_heads, d = kModuleHidden / kModuleHeads;
    const bool turned = std::string(GetParam().positions) == "rotary";
    const bool sticks = std::string(GetParam().weights) == "stick_breaking";
    const auto module = [&](const char* name, int64_t e) {
      const std::string whole = std::string("experts.") + name;
      if (!weights.contains(whole + "_16")) return weights[whole].select(0, e);
      const int64_t first = weights[whole].size(0);
      return e < first ? weights[whole].select(0, e) : weights[whole + "_16"].select(0, e - first);
    };
    const at::Tensor place = at::arange(length, at::kDouble).repeat({T / length});
    const auto placed = [&](const at::Tensor& x_THd) {  // pairs i, i + d / 2 turned by place / 10000^(2 i / d)
      if (!turned) return x_THd;
      const at::Tensor angle_Ti =
          place.unsqueeze(1) * at::pow(10000.0, -2 * at::arange(d / 2, at::kDouble) / static_cast<double>(d));
      const at::Tensor cos = angle_Ti.cos().unsqueeze(1), sin = angle_Ti.sin().unsqueeze(1);
      const at::Tensor a = x_THd.narrow(2, 0, d / 2), b = x_THd.narrow(2, d / 2, d / 2);
      return at::cat({a * cos - b * sin, b * cos + a * sin}, 2);
    };
    const at::Tensor key = placed(at::matmul(input_TD, weights["key.weight"].t()).view({T, G, d}));
    const at::Tensor value = at::matmul(input_TD, weights["value.weight"].t()).view({T, G, d});
    std::vector<at::Tensor> out;
    for (int64_t t = 0; t < T; ++t) {
      at::Tensor sum = at::zeros({kModulesWidth}, at::kDouble);
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t e = decision.assignment.expert_TK[t][j].item<int64_t>();
        if (e == parallel::Assignment::kDropped) continue;
        at::Tensor all = at::matmul(input_TD, module("query", e)).view({T, kModuleHeads, d});
        const at::Tensor query = placed(all)[t];
        std::vector<at::Tensor> seen;
        for (int64_t h = 0; h < kModuleHeads; ++h) {
          const int64_t first = t / length * length, g = h / (kModuleHeads / G);
          const at::Tensor keys = key.select(1, g).narrow(0, first, t - first + 1);
          const at::Tensor logits = at::matmul(keys, query[h]) / std::sqrt(static_cast<double>(d));
          at::Tensor share = logits.softmax(0);
          if (sticks) {
            const at::Tensor left = at::log_sigmoid(-logits);
            share = (logits + left.flip(0).cumsum(0).flip(0)).exp();
          }
          seen.push_back(at::matmul(share, value.select(1, g).narrow(0, first, t - first + 1)));
        }
        sum = sum + decision.assignment.weight_TK[t][j] * at::matmul(at::cat(seen), module("output", e));
      }
      out.push_back(sum);
    }
    return at::stack(out);
  }

  std::shared_ptr<AttentionModules> layer_ =
      std::make_shared<AttentionModules>(ParameterSource(3, at::kDouble), config(), shape(), MoeTables());
  const at::Tensor input_ = random_tensor("modules input", {15, kModulesWidth});
};

TEST_P(AttentionModulesTest, EqualsALoopOverTokensAndModules) {
  const at::NoGradGuard no_gradient;
  const MixedTokens mixed = mix(input_, 5);
  EXPECT_TRUE(at::allclose(mixed.out_TD, by_hand(input_, 5, *mixed.decision), 1e-12, 1e-13));
}

TEST_P(AttentionModulesTest, GradientsEqualThoseOfTheLoop) {
  const at::Tensor input = input_.clone().requires_grad_(true), probe = random_tensor("probe", input.sizes());
  std::vector<at::Tensor> leaves = layer_->parameters();
  leaves.push_back(input);
  const auto gradients_of = [&](const at::Tensor& out, const LossTerms& losses) {
    for (at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
    at::Tensor loss = (out * probe).sum();
    for (const auto& term : losses.terms()) loss = loss + term.share;
    torch::autograd::backward({loss}, {});
    std::vector<at::Tensor> all;
    for (const at::Tensor& leaf : leaves) all.push_back(leaf.grad().clone());
    return all;
  };
  parallel::LocalCommunicator alone;
  const BatchScope training = scope(alone, input, 5, /*training=*/true);
  MixedTokens mixed = layer_->mix(input, training, nullptr, {}, nullptr);
  const std::vector<at::Tensor> got = gradients_of(mixed.out_TD, layer_->losses(*mixed.decision, training));
  mixed = layer_->mix(input, training, nullptr, {}, nullptr);
  const LossTerms losses = layer_->losses(*mixed.decision, training);
  EXPECT_EQ(losses.terms().size(), 1u);
  EXPECT_EQ(losses.terms()[0].name, "mutual_information");
  const std::vector<at::Tensor> expected = gradients_of(by_hand(input, 5, *mixed.decision), losses);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-10, 1e-12)) << i;
}

TEST_P(AttentionModulesTest, DecodingWithACacheEqualsTheFullForward) {
  if (std::string(GetParam().capacity) != "dropless") return;  // whose drops are those of all tokens together
  const at::NoGradGuard no_gradient;
  const at::Tensor full = mix(input_, 5).out_TD.view({3, 5, kModulesWidth});
  KeyValueCache cache;
  std::vector<at::Tensor> parts;
  for (int64_t place = 0; place < 5; ++place) {
    const at::Tensor now = input_.view({3, 5, kModulesWidth}).select(1, place).contiguous();
    parts.push_back(mix(now, 1, &cache).out_TD.unsqueeze(1));
  }
  EXPECT_TRUE(at::allclose(at::cat(parts, 1), full, 1e-12, 1e-13));
  const int64_t width = GetParam().kv_heads * kModuleHidden / kModuleHeads;  // not of every module
  EXPECT_LE(cache.bytes(), 2 * input_.element_size() * 3 * width * 2 * 5);
}

TEST_P(AttentionModulesTest, NoTokens) {
  const at::Tensor none = at::empty({0, kModulesWidth}, at::kDouble).requires_grad_(true);
  parallel::LocalCommunicator alone;
  BatchScope empty{.group = alone, .global_tokens = 0};
  empty.sequences = Sequences({}, at::kCPU);
  const MixedTokens mixed = layer_->mix(none, empty, nullptr, {}, nullptr);
  EXPECT_EQ(mixed.out_TD.sizes(), none.sizes());
  torch::autograd::backward({mixed.out_TD.sum()}, {});
  for (const char* name : {"key.weight", "value.weight", "experts.query", "experts.output"}) {
    EXPECT_TRUE(layer_->named_parameters()[name].grad().defined()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionModulesTest,
                         testing::Values(ModulesCase{"softmax", "softmax", "rotary", 4, "heads", "dropless"},
                                         ModulesCase{"grouped_keys_dropping", "softmax", "none", 2, "heads", "factor"},
                                         ModulesCase{"sticks", "stick_breaking", "none", 4, "heads", "dropless"},
                                         ModulesCase{"sticks_one_key_grown", "stick_breaking", "none", 1,
                                                     "heads:3,heads(16):2", "dropless"}),
                         [](const testing::TestParamInfo<ModulesCase>& one) { return std::string(one.param.name); });

TEST(AttentionModules, ParametersHaveTheirNamesAndDrawsOfTheirOwn) {
  const LayerSite attention{.block = 2, .slot = Slot::kAttention, .blocks = 4}, feed_forward{.block = 2, .blocks = 4};
  EXPECT_EQ(attention.number(), 6);
  EXPECT_EQ(feed_forward.number(), 2);
  MoeConfig config{.experts = 3, .top_k = 1, .expert = "heads", .hidden = 8};
  config.slot = Slot::kAttention;
  AttentionModules::Shape shape{.site = attention};
  shape.attention = {.width = 6, .heads = 2, .kv_heads = 1};
  const AttentionModules layer(ParameterSource(3, at::kDouble), config, shape, MoeTables());
  std::vector<std::string> names;
  for (const auto& parameter : layer.named_parameters()) names.push_back(parameter.key());
  EXPECT_EQ(names, (std::vector<std::string>{"router.weight", "key.weight", "value.weight", "experts.query",
                                             "experts.output"}));
  EXPECT_EQ(layer.named_parameters()["experts.query"].sizes(), (at::IntArrayRef{3, 6, 8}));
  EXPECT_EQ(layer.named_parameters()["key.weight"].sizes(), (at::IntArrayRef{4, 6}));
  EXPECT_EQ(layer.idle_parameters(), 2 * 2 * 6 * 8);  // two of three modules
}

}  // namespace
}  // namespace moetrain
