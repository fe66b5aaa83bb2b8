// A tensor group's head and embedding against those of one rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

#include "moetrain/layers/output_head.h"
#include "parallel/base/fault.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace moetrain {
namespace {

constexpr int64_t kVocabulary = 9, kWidth = 4;  // 9 rows are uneven parts over 2 and over 4 ranks

std::shared_ptr<const parallel::Mesh> tensor_mesh() {
  return std::make_shared<const parallel::Mesh>(parallel::MeshConfig{.tensor = test_world()->size()}, test_world(),
                                                test_world()->duplicate());
}

ParameterSource source_of(std::shared_ptr<const parallel::Mesh> mesh, at::ScalarType type = at::kDouble) {
  return ParameterSource(3, type, std::move(mesh)).at("head");
}

double over_ranks(const at::Tensor& own) {
  at::Tensor sum = own.detach().to(at::kDouble).view({1}).clone();
  test_world()->all_reduce(sum, parallel::ReduceOp::kSum).wait();
  return sum.item<double>();
}

at::Tensor leaf(const at::Tensor& value) { return value.detach().clone().requires_grad_(true); }

using Passes = std::vector<at::Tensor>;
using Loss = std::function<HeadLoss(const OutputHead& head, const Passes& hidden, const TargetTokens& targets)>;

/// Values and gradients of 3 * share over all ranks are those of one rank with the whole head.
void expect_same_as_one_rank(const Loss& loss, const at::Tensor& targets, double label_smoothing) {
  const auto mesh = tensor_mesh();
  const int64_t tokens = targets.numel();
  const parallel::TokenParts parts(mesh->tensor(), tokens);
  const OutputHead whole(source_of(nullptr), kWidth, kVocabulary, 0.8), part(source_of(mesh), kWidth, kVocabulary, 0.8);
  const Vocabulary vocabulary(kVocabulary, mesh);
  Passes all, own;
  for (const char* name : {"p", "q"}) {
    all.push_back(leaf(random_tensor(name, {tokens, kWidth})));
    own.push_back(leaf(parts.own(all.back())));
  }
  const TargetTokens wanted{targets, 0.3, label_smoothing};
  const HeadLoss expected = loss(whole, all, wanted), got = loss(part, own, wanted);
  torch::autograd::backward({expected.share * 3}, {});
  torch::autograd::backward({got.share * 3}, {});
  EXPECT_NEAR(over_ranks(got.share), expected.share.item<double>(), 1e-13);
  EXPECT_NEAR(over_ranks(got.second), expected.second.item<double>(), 1e-13);
  EXPECT_TRUE(at::allclose(got.nll_T, parts.own(expected.nll_T), 1e-12, 1e-13));
  const at::Tensor rows = whole.parameters()[0].grad().narrow(0, vocabulary.first(), vocabulary.count());
  EXPECT_TRUE(at::allclose(part.parameters()[0].grad(), rows, 1e-12, 1e-14));
  for (size_t p = 0; p < all.size(); ++p) {
    if (!all[p].grad().defined()) continue;
    EXPECT_TRUE(at::allclose(own[p].grad(), parts.own(all[p].grad()), 1e-12, 1e-14));
  }
}

const at::Tensor& some_targets() {
  static const at::Tensor targets = at::tensor({0, 8, -100, 3, 4, 4, 7}, at::kLong);
  return targets;
}

HeadLoss cross_entropy(const OutputHead& head, const Passes& hidden, const TargetTokens& targets) {
  return head.cross_entropy(hidden[0], targets);
}

TEST(SharedVocabulary, CrossEntropy) {
  for (const double smoothing : {0.0, 0.1}) expect_same_as_one_rank(&cross_entropy, some_targets(), smoothing);
}

TEST(SharedVocabulary, FewerTokensThanRanksAndNone) {
  for (const int64_t tokens : {1, 0}) {
    expect_same_as_one_rank(&cross_entropy, some_targets().narrow(0, 1, tokens), 0.1);
  }
}

TEST(SharedVocabulary, TwoPass) {
  const auto loss = [](const OutputHead& head, const Passes& hidden, const TargetTokens& targets) {
    return head.two_pass(hidden[0], hidden[1], targets, 5.0);
  };
  for (const double smoothing : {0.0, 0.1}) expect_same_as_one_rank(loss, some_targets(), smoothing);
}

TEST(SharedVocabulary, DistillationFromAWholeTeacher) {
  const OutputHead teacher(random_tensor("teacher", {kVocabulary, 3}));
  const at::Tensor taught = random_tensor("taught", {some_targets().numel(), 3});
  const auto loss = [&](const OutputHead& head, const Passes& hidden, const TargetTokens& targets) {
    return head.distillation(hidden[0], {taught, teacher, 0.7, 2.0}, targets);
  };
  for (const double smoothing : {0.0, 0.1}) expect_same_as_one_rank(loss, some_targets(), smoothing);
}

TEST(SharedVocabulary, LargeLogitsDoNotOverflow) {
  const auto mesh = tensor_mesh();
  const Vocabulary vocabulary(kVocabulary, mesh);
  const at::Tensor logits = random_tensor("logits", {5, kVocabulary}) * 1000;
  const at::Tensor own = logits.narrow(1, vocabulary.first(), vocabulary.count());
  const at::Tensor expected = at::log_softmax(logits, 1).narrow(1, vocabulary.first(), vocabulary.count());
  EXPECT_TRUE(at::allclose(vocabulary.log_softmax(own), expected, 1e-13, 1e-12));
}

TEST(SharedVocabulary, EmbeddingIsThatOfOneRankBitForBit) {
  const auto mesh = tensor_mesh();
  const Vocabulary vocabulary(kVocabulary, mesh);
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    const at::Tensor whole = leaf(random_tensor("embedding", {kVocabulary, kWidth}).to(type));
    const at::Tensor part = leaf(whole.narrow(0, vocabulary.first(), vocabulary.count()));
    const at::Tensor ids = at::tensor({0, 8, 4, 4, 3, 5, 1}, at::kLong);
    const parallel::TokenParts parts = vocabulary.parts(ids.numel());
    const at::Tensor x = at::embedding(whole, ids), own = parts.sum(vocabulary.embed(ids, part));
    EXPECT_TRUE(own.equal(parts.own(x)));
    const at::Tensor slope = random_tensor("slope", {ids.numel(), kWidth}).to(type);
    torch::autograd::backward({(x * slope).sum()}, {});
    torch::autograd::backward({(own * parts.own(slope)).sum()}, {});
    EXPECT_TRUE(part.grad().equal(whole.grad().narrow(0, vocabulary.first(), vocabulary.count())));
  }
}

TEST(SharedVocabulary, MoreRanksThanTokensAreRefused) {
  const auto mesh = std::make_shared<const parallel::Mesh>(parallel::MeshConfig{.tensor = 4}, 4, 0);
  EXPECT_EQ(Vocabulary(4, mesh).count(), 1);
  try {
    Vocabulary(3, mesh);
    FAIL() << "no error";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(error.what(), "mesh.tensor = 4 ranks for a vocabulary of 3 tokens; legal: at most 3");
  }
}

}  // namespace
}  // namespace moetrain
