// The head's gradients, which are made in forward, where a GradientReducer gathers them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "moetrain/layers/output_head.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/gradients/gradient_reducer.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kVocabulary = 9, kWidth = 4, kTokens = 6;

class HeadGradientPlace : public testing::Test {
 protected:
  HeadGradientPlace() : reducer_({weight_VD_}, std::make_shared<parallel::LocalCommunicator>()) {}

  /// Of the head alone, or of a table that the tokens are read from too.
  at::Tensor loss(int64_t shift = 0, bool tied = false) const {
    const at::Tensor ids_T = (at::arange(kTokens, at::kLong) * 5 + shift).remainder(kVocabulary);
    const at::Tensor hidden_TD = tied ? at::embedding(weight_VD_, ids_T) : hidden_TD_;
    return OutputHead(weight_VD_).cross_entropy(hidden_TD, {(ids_T + 1).remainder(kVocabulary), 1.0 / kTokens}).share;
  }
  /// What LibTorch alone makes of it.
  at::Tensor wanted(int64_t shift = 0, bool tied = false) const {
    const at::Tensor weight_VD = weight_VD_.detach().clone().requires_grad_(true);
    const at::Tensor ids_T = (at::arange(kTokens, at::kLong) * 5 + shift).remainder(kVocabulary);
    const at::Tensor hidden_TD = tied ? at::embedding(weight_VD, ids_T) : hidden_TD_;
    at::cross_entropy_loss(hidden_TD.mm(weight_VD.t()), (ids_T + 1).remainder(kVocabulary)).backward();
    return weight_VD.grad();
  }
  void backward(const at::Tensor& loss, bool keep = false) { torch::autograd::backward({loss}, {}, keep); }
  void expect_gathered(const at::Tensor& wanted_VD) {
    reducer_.finish();
    EXPECT_TRUE(reducer_.gradient(0).allclose(wanted_VD, 1e-5, 1e-6));
  }

  const at::Tensor hidden_TD_ = random_tensor("hidden", {kTokens, kWidth}).to(at::kFloat);
  at::Tensor weight_VD_ = random_tensor("table", {kVocabulary, kWidth}).to(at::kFloat).requires_grad_(true);
  parallel::GradientReducer reducer_;
};

TEST_F(HeadGradientPlace, SeveralMicroBatchesAddUp) {
  for (int round = 0; round < 2; ++round) {
    reducer_.zero();
    for (const int64_t shift : {0, 1, 2}) {
      reducer_.expect(shift == 2);
      backward(loss(shift));
    }
    expect_gathered(wanted(0) + wanted(1) + wanted(2));
  }
}

TEST_F(HeadGradientPlace, ATableThatTokensAreReadFromToo) {
  reducer_.zero();
  for (const int64_t shift : {0, 1}) {
    reducer_.expect(shift == 1);
    backward(loss(shift, /*tied=*/true));
  }
  expect_gathered(wanted(0, true) + wanted(1, true));
}

TEST_F(HeadGradientPlace, AKeptGraphGivesTheSameEachTime) {
  for (const bool tied : {false, true}) {
    reducer_.zero();
    reducer_.expect(true);
    const at::Tensor share = loss(0, tied);
    for (int time = 0; time < 4; ++time) backward(share, /*keep=*/true);
    expect_gathered(4 * wanted(0, tied));
    // Let go of by the next round.
  }
}

TEST_F(HeadGradientPlace, SumsOfATableIn16BitsAreNotRounded) {
  const at::Tensor low_VD = weight_VD_.detach().to(at::kBFloat16).requires_grad_(true);
  parallel::GradientReducer reducer({low_VD}, std::make_shared<parallel::LocalCommunicator>());
  const at::Tensor ids_T = (at::arange(kTokens, at::kLong) * 5).remainder(kVocabulary);
  reducer.zero();
  reducer.expect(true);
  backward(OutputHead(low_VD)
               .cross_entropy(hidden_TD_.to(at::kBFloat16), {(ids_T + 1).remainder(kVocabulary), 1.0 / kTokens})
               .share);
  reducer.finish();
  const at::Tensor sums_VD = reducer.gradient(0);
  EXPECT_TRUE(sums_VD.allclose(wanted(), 2e-2, 2e-2));
  EXPECT_FALSE(sums_VD.to(at::kBFloat16).to(at::kFloat).equal(sums_VD));
}

TEST_F(HeadGradientPlace, AFactorFromAboveCounts) {
  reducer_.zero();
  reducer_.expect(true);
  backward(loss() * 3);
  expect_gathered(3 * wanted());
}

TEST_F(HeadGradientPlace, AnotherGradientOverOneThatLiesInItsPlaceIsRefused) {
  reducer_.zero();
  reducer_.expect(true);
  const at::Tensor first = loss(0), second = loss(1);
  EXPECT_THROW(backward(second), parallel::InternalError);
  EXPECT_THROW(reducer_.zero(), parallel::InternalError);  // nor is its place given to somebody else
}

TEST_F(HeadGradientPlace, BackwardAgainIsRefusedWhereTheGraphWasNotKept) {
  reducer_.zero();
  reducer_.expect(true);
  const at::Tensor share = loss();
  backward(share);
  EXPECT_ANY_THROW(backward(share));
}

}  // namespace
}  // namespace moetrain
