// Experts of whole sequences: the GRU against LibTorch's, kinds put together against each alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>

#include "moetrain/experts/expert.h"
#include "moetrain/experts/expert_mix.h"
#include "moetrain/layers/sequence_rows.h"
#include "moetrain/moe/moe_layer.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kSeqWidth = 4, kSeqHidden = 5;
const std::vector<int64_t> kSeqLengths{3, 6, 1, 4};  // 14 tokens

MoeConfig sequence_config(const char* expert, int64_t experts = 3) {
  MoeConfig config{.experts = experts, .top_k = 2, .expert = expert, .rows = "sequences", .hidden = kSeqHidden};
  config.losses = {{"load_balance", 0.5}, {"router_z", 0.3}, {"entropy", 0.2}};
  return config;
}

BatchScope sequence_scope(parallel::Communicator& group, int64_t longest = 6) {
  const Sequences sequences(kSeqLengths, at::kCPU);
  return {.group = group,
          .global_tokens = sequences.tokens(),
          .training = true,
          .global_sequences = sequences.count(),
          .sequence_T = sequences.sequence_T(),
          .sequences = sequences,
          .number_S = at::arange(sequences.count(), at::kLong),
          .longest = longest};
}

std::shared_ptr<MoeLayer> sequence_layer(const MoeConfig& config) {
  const MoeLayer::Shape shape{.width = kSeqWidth, .std = 0.8, .output_std = 0.9, .causal = false};
  return std::make_shared<MoeLayer>(ParameterSource(3, at::kDouble), config, shape, MoeTables());
}

TEST(SequenceRows, PackedAndUnpackedAreTheSame) {
  parallel::LocalCommunicator group;
  const at::Tensor x_ND = random_tensor("packed tokens", {14, kSeqWidth});
  for (const int64_t longest : {6, 9}) {  // another rank's sequences may be longer
    const SequenceRows rows(sequence_scope(group, longest));
    const at::Tensor packed_RX = rows.pack(x_ND);
    ASSERT_EQ(packed_RX.sizes(), at::IntArrayRef({4, SequenceRows::width(longest, kSeqWidth)}));
    EXPECT_TRUE(rows.unpack(packed_RX).equal(x_ND));
    const at::Tensor there_RL = packed_RX.view({4, longest, kSeqWidth + 1}).select(2, kSeqWidth);
    EXPECT_TRUE(there_RL.sum(1).equal(at::tensor({3.0, 6.0, 1.0, 4.0}, at::kDouble)));
  }
}

TEST(GruExpert, IsLibTorchsOnEachSequence) {
  parallel::LocalCommunicator group;
  const parallel::NameTable<ExpertPreset> kinds = builtin_experts();
  const ExpertShape shape{.width = kSeqWidth, .hidden = kSeqHidden};
  const MoeConfig config = sequence_config("gru", 1);
  std::vector<at::Tensor> weights, own;
  for (const ExpertWeight& weight : kinds.at("gru").weights(shape, config)) {
    weights.push_back(random_tensor("gru " + weight.name, weight.dims) * 0.5);
    own.push_back(weights.back().unsqueeze(0));
  }
  const at::Tensor x_ND = random_tensor("gru tokens", {14, kSeqWidth});
  const SequenceRows rows(sequence_scope(group, 8));
  const at::Tensor out_ND =
      rows.unpack(kinds.at("gru").compute(shape, config)->forward(rows.pack(x_ND), std::vector<int64_t>{4}, own, {}));
  const at::Tensor candidate = at::cat({at::zeros({2 * kSeqHidden}, at::kDouble), weights[3]});
  int64_t first = 0;
  for (const int64_t length : kSeqLengths) {
    const auto [hidden_L1H, last] =
        at::gru(x_ND.narrow(0, first, length).unsqueeze(1), at::zeros({1, 1, kSeqHidden}, at::kDouble),
                {weights[0].t().contiguous(), weights[1].t().contiguous(), weights[2], candidate}, true, 1, 0.0, false,
                false, false);
    const at::Tensor expected = at::mm(hidden_L1H.squeeze(1), weights[4]);
    EXPECT_TRUE(at::allclose(out_ND.narrow(0, first, length), expected, 1e-12, 1e-13)) << "length " << length;
    first += length;
  }
}

TEST(SequenceExperts, AFeedForwardOfSequencesSeesEachPlaceAlone) {
  parallel::LocalCommunicator group;
  const MoeConfig config = sequence_config("feed_forward");
  const auto layer = sequence_layer(config);
  const at::Tensor x_TD = random_tensor("sequence tokens", {14, kSeqWidth});
  const MoeOutput output = layer->forward(x_TD, sequence_scope(group));
  ASSERT_EQ(output.decision.chosen_TK.sizes(), at::IntArrayRef({4, 2}));
  const auto weight = [&](const char* name) { return layer->named_parameters()["experts." + std::string(name)]; };
  const Sequences sequences(kSeqLengths, at::kCPU);
  const at::Tensor first_SD = sequences.pooled(x_TD, Pool::kFirst);
  const at::Tensor p_SE = at::softmax(at::linear(first_SD, layer->named_parameters()["router.weight"]), 1);
  const auto [score_SK, chosen_SK] = p_SE.topk(2, 1);
  EXPECT_TRUE(chosen_SK.equal(output.decision.chosen_TK));
  const at::Tensor sequence_T = sequences.sequence_T();
  for (int64_t t = 0; t < 14; ++t) {
    const int64_t s = sequence_T[t].item<int64_t>();
    at::Tensor expected_D = at::zeros({kSeqWidth}, at::kDouble);
    for (int64_t k = 0; k < 2; ++k) {
      const at::Tensor e = chosen_SK[s][k];
      const at::Tensor hidden = at::silu(at::matmul(x_TD[t], weight("gate")[e])) * at::matmul(x_TD[t], weight("up")[e]);
      expected_D = expected_D + score_SK[s][k] / score_SK[s].sum() * at::matmul(hidden, weight("down")[e]);
    }
    EXPECT_TRUE(at::allclose(output.out_TD[t], expected_D, 1e-10, 1e-12)) << "token " << t;
  }
}

/// A mix computes what each of its kinds computes alone, wherever in the layer it stands, gradients and all.
TEST(SequenceExperts, GradientsOfAMixAreThoseOfFiniteDifferences) {
  parallel::LocalCommunicator group;
  const auto layer = sequence_layer(sequence_config("gru:1,feed_forward:2"));
  at::Tensor x_TD = random_tensor("mix tokens", {14, kSeqWidth});
  const at::Tensor probe_TD = random_tensor("mix probe", {14, kSeqWidth});
  const auto loss = [&] {
    const MoeOutput output = layer->forward(x_TD, sequence_scope(group));
    return (output.out_TD * probe_TD).sum() + output.losses.sum();
  };
  std::vector<at::Tensor> leaves = layer->parameters();
  leaves.push_back(x_TD.requires_grad_(true));
  expect_gradients(loss, leaves);
}

/// The router's gradient is that of probabilities as weights, though the weight is 1: of a loss that is linear in the
/// output the same as with gate = raw; each expert's is that of its full output.
TEST(SequenceExperts, AStraightThroughGateHasTheGradientOfTheProbability) {
  parallel::LocalCommunicator group;
  const at::Tensor x_TD = random_tensor("straight tokens", {14, kSeqWidth});
  const at::Tensor probe_TD = random_tensor("straight probe", {14, kSeqWidth});
  std::map<std::string, at::Tensor> gradients[2];
  for (const bool straight : {false, true}) {
    MoeConfig config = sequence_config("feed_forward", 3);
    config.router = "hecto", config.top_k = 1, config.gate = straight ? "straight_through" : "raw";
    config.losses = {{"load_balance", 0}, {"router_z", 0}};
    const auto layer = sequence_layer(config);
    const MoeOutput output = layer->forward(x_TD, sequence_scope(group));
    const at::Tensor weight_S1 = output.decision.assignment.weight_TK;
    EXPECT_EQ(weight_S1.equal(at::ones_like(weight_S1)), straight);
    torch::autograd::backward({(output.out_TD * probe_TD).sum()}, {});
    for (const auto& parameter : layer->named_parameters()) {
      gradients[straight][parameter.key()] = parameter.value().grad().clone();
    }
  }
  EXPECT_TRUE(at::allclose(gradients[1]["router.weight"], gradients[0]["router.weight"], 1e-12, 1e-14));
  EXPECT_GT(gradients[1]["router.weight"].abs().max().item<double>(), 1e-3);
  EXPECT_GT((gradients[1]["experts.up"] - gradients[0]["experts.up"]).abs().max().item<double>(), 1e-3);
}

TEST(ExpertRanges, ReadsOneKindOrSeveral) {
  const auto kinds = builtin_experts();
  MoeConfig config = sequence_config("gru:2,feed_forward:4", 6);
  const std::vector<ExpertRange> ranges = expert_ranges(config, kinds);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[1].kind, "feed_forward");
  EXPECT_EQ(ranges[1].first, 2);
  EXPECT_EQ(ranges[1].count, 4);
  EXPECT_EQ(ranges[1].hidden, kSeqHidden);
  EXPECT_TRUE(names_kind("gru:2,feed_forward:4", "gru"));
  EXPECT_TRUE(names_kind("feed_forward(7):4,gru(3):2", "gru"));
  EXPECT_FALSE(names_kind("feed_forward", "gru"));
  for (const auto& [text, reason] :
       {std::pair{"gru:2", "these are 2 experts, and moe.experts is 6"},
        {"gru:2,gru:4", "'gru' is named twice"},
        {"lstm", "unknown kind 'lstm'; known: feed_forward, gru"},
        {"gru,feed_forward:5", "'' is no number of experts"},
        {"gru:0,feed_forward:6", "'0' is no number of experts"},
        {"gru:2,", "unknown kind ''; known: feed_forward, gru"},
        {"gru(5):2,gru(5):4", "'gru' of width 5 is named twice"},
        {"clamped_swiglu:2,feed_forward:4", "'clamped_swiglu' and 'feed_forward' both have weights 'gate'"},
        {"gru(0):2,gru:4", "'0' is no hidden width"},
        {"gru(5:2,gru:4", "unknown kind 'gru(5'; known: feed_forward, gru"}}) {
    config.expert = text;
    try {
      expert_ranges(config, kinds);
      ADD_FAILURE() << text << " was taken";
    } catch (const parallel::UserError& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("moe.expert = \"") + text + "\": " + reason),
                std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace moetrain
