// Sequences of differing lengths, packed: each is treated as if it were alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/attention/attention.h"
#include "moetrain/attention/cross_attention.h"
#include "moetrain/layers/sequences.h"
#include "parallel/base/fault.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kPackedWidth = 8;

at::Tensor packed_input(const Sequences& sequences, const char* name = "packed") {
  return random_tensor(name, {sequences.tokens(), kPackedWidth});
}

/// Sequence s of packed rows.
at::Tensor rows_of(const at::Tensor& x_TD, const Sequences& sequences, int64_t s) {
  int64_t begin = 0;
  for (int64_t i = 0; i < s; ++i) begin += sequences.lengths()[static_cast<size_t>(i)];
  return x_TD.narrow(0, begin, sequences.lengths()[static_cast<size_t>(s)]);
}

Sequences one(const at::Tensor& x_TD) { return {{x_TD.size(0)}, at::kCPU}; }

TEST(Sequences, PadAndUnpadAreInverse) {
  const Sequences sequences({3, 1, 4}, at::kCPU);
  EXPECT_EQ(sequences.count(), 3);
  EXPECT_EQ(sequences.longest(), 4);
  EXPECT_EQ(sequences.tokens(), 8);
  EXPECT_FALSE(sequences.uniform());
  EXPECT_TRUE(sequences.sequence_T().equal(at::tensor({0, 0, 0, 1, 2, 2, 2, 2}, at::kLong)));
  const at::Tensor x = packed_input(sequences), padded = sequences.pad(x);
  EXPECT_TRUE(sequences.unpad(padded).equal(x));
  EXPECT_TRUE(padded[0].narrow(0, 0, 3).equal(x.narrow(0, 0, 3)));
  EXPECT_TRUE(padded[1][0].equal(x[3]));
  EXPECT_TRUE(padded[2].equal(x.narrow(0, 4, 4)));
  const at::Tensor there = sequences.there_SL();
  EXPECT_TRUE(there.equal(at::tensor({1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1}).view({3, 4}).to(at::kBool)));
  EXPECT_EQ(padded.masked_select(there.logical_not().unsqueeze(2)).abs().sum().item<double>(), 0.0);
}

TEST(Sequences, OfOneLengthAreAView) {
  const Sequences sequences = Sequences::uniform(3, 2, at::kCPU);
  const at::Tensor x = packed_input(sequences);
  EXPECT_TRUE(sequences.uniform());
  EXPECT_EQ(sequences.pad(x).data_ptr(), x.data_ptr());
  EXPECT_TRUE(sequences.sequence_T().equal(at::tensor({0, 0, 1, 1, 2, 2}, at::kLong)));
}

TEST(Sequences, NoneAndEmptyOnes) {
  const Sequences none({}, at::kCPU);
  EXPECT_EQ(none.tokens(), 0);
  EXPECT_EQ(none.sequence_T().numel(), 0);
  EXPECT_EQ(none.unpad(none.pad(at::empty({0, 4}, at::kDouble))).sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_THROW(Sequences({2, 0}, at::kCPU), parallel::InternalError);
}

class PackedAttention : public testing::TestWithParam<bool> {
 protected:
  at::Tensor run(const at::Tensor& x_TD, const Sequences& sequences) const {
    return layer_.forward(x_TD, sequences, nullptr);
  }
  const AttentionShape shape_{kPackedWidth, 4, 2, 100.0, GetParam()};
  const Attention layer_{ParameterSource(3, at::kDouble), shape_, 0.6, 0.4};
  const Sequences sequences_{{3, 1, 5, 2}, at::kCPU};
  const at::Tensor input_ = packed_input(sequences_);
};

TEST_P(PackedAttention, EachSequenceIsAsIfAlone) {
  const at::NoGradGuard no_gradient;
  const at::Tensor together = run(input_, sequences_);
  for (int64_t s = 0; s < sequences_.count(); ++s) {
    const at::Tensor x = rows_of(input_, sequences_, s);
    EXPECT_TRUE(at::allclose(rows_of(together, sequences_, s), run(x, one(x)), 1e-12, 1e-13)) << s;
  }
}

TEST_P(PackedAttention, GradientsEqualFiniteDifferences) {
  const at::Tensor input = input_.clone().requires_grad_(true), probe = random_tensor("probe", input.sizes());
  std::vector<at::Tensor> inputs = layer_.parameters();
  inputs.push_back(input);
  expect_gradients([&] { return (run(input, sequences_) * probe).sum(); }, inputs, 1e-6, 24);
}

TEST_P(PackedAttention, ATokenSeesBackwardsAndWithoutACauseForwards) {
  const at::NoGradGuard no_gradient;
  at::Tensor changed = input_.clone();
  changed[6] += 1.0;  // the third of the five
  const at::Tensor moved_T = (run(changed, sequences_) - run(input_, sequences_)).abs().amax({1});
  for (int64_t t = 0; t < input_.size(0); ++t) {
    const bool reached = t >= (GetParam() ? 6 : 4) && t < 9;
    const double moved = moved_T[t].item<double>();
    EXPECT_TRUE(reached ? moved > 1e-6 : moved < 1e-13) << t << ": " << moved;
  }
}

INSTANTIATE_TEST_SUITE_P(Causal, PackedAttention, testing::Bool(),
                         [](const auto& each) { return each.param ? "Decoder" : "Encoder"; });

class CrossAttentionTest : public testing::Test {
 protected:
  at::Tensor run(const at::Tensor& x_TD, const Sequences& sequences, const Memory& memory) const {
    return layer_.forward(x_TD, sequences, layer_.keys(memory));
  }
  at::Tensor weight(const char* name) const { return layer_.named_parameters()[std::string(name) + ".weight"]; }

  const AttentionShape shape_{kPackedWidth, 4, 2};
  const CrossAttention layer_{ParameterSource(3, at::kDouble), shape_, 0.6, 0.4};
  const Sequences targets_{{3, 1, 5, 2}, at::kCPU}, sources_{{2, 4, 1, 3}, at::kCPU};
  const at::Tensor input_ = packed_input(targets_);
  const Memory memory_{packed_input(sources_, "memory"), sources_};
};

TEST_F(CrossAttentionTest, EqualsTheNaiveSoftmaxOverTheOwnSource) {
  const at::NoGradGuard no_gradient;
  const at::Tensor together = run(input_, targets_, memory_);
  const int64_t head_dim = 2, share = 2;
  for (int64_t s = 0; s < targets_.count(); ++s) {
    const at::Tensor x = rows_of(input_, targets_, s), source = rows_of(memory_.hidden_TD, sources_, s);
    const at::Tensor query = at::mm(x, weight("query").t()), key = at::mm(source, weight("key").t()),
                     value = at::mm(source, weight("value").t());
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < 4; ++h) {
      const at::Tensor q = query.narrow(1, h * head_dim, head_dim), k = key.narrow(1, h / share * head_dim, head_dim);
      const at::Tensor p = at::softmax(at::mm(q, k.t()) / std::sqrt(2.0), 1);
      heads.push_back(at::mm(p, value.narrow(1, h / share * head_dim, head_dim)));
    }
    const at::Tensor expected = at::mm(at::cat(heads, 1), weight("output").t());
    EXPECT_TRUE(at::allclose(rows_of(together, targets_, s), expected, 1e-12, 1e-13)) << s;
    EXPECT_TRUE(at::allclose(run(x, one(x), {source, one(source)}), expected, 1e-12, 1e-13)) << s;
  }
}

TEST_F(CrossAttentionTest, GradientsEqualFiniteDifferences) {
  const at::Tensor input = input_.clone().requires_grad_(true), hidden = memory_.hidden_TD.clone().requires_grad_(true),
                   probe = random_tensor("probe", input.sizes());
  std::vector<at::Tensor> inputs = layer_.parameters();
  inputs.push_back(input);
  inputs.push_back(hidden);
  expect_gradients([&] { return (run(input, targets_, {hidden, sources_}) * probe).sum(); }, inputs, 1e-6, 24);
}

// A rank may own no sentence of a micro-batch.
TEST_F(CrossAttentionTest, NoSequences) {
  const Sequences none({}, at::kCPU);
  const at::Tensor empty = at::empty({0, kPackedWidth}, at::kDouble);
  EXPECT_EQ(run(empty, none, {empty, none}).sizes(), empty.sizes());
}

}  // namespace
}  // namespace moetrain
