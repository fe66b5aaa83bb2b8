// Peak bytes of a layer's experts on the rank that holds the one expert which all tokens choose, against the bound that
// mesh.receive_bound puts on them: what tests/figures/receive_memory starts.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdio>

#include "moetrain/experts/dispatched_experts.h"
#include "parallel/mesh/mesh.h"
#include "tests/support/peak_bytes.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace receive_memory {
namespace {

constexpr int64_t kTokens = 2000, kTopK = 2, kRows = kTokens * kTopK;  // of each rank
constexpr int64_t kWidth = 48, kHidden = 64, kExperts = 8, kHot = 5;

/// Bytes that a rank may take on top of its tokens and weights, whatever the routing, counted by hand where most is
/// there at once: in the backward of a further pass. For each of its own rows: the row, its result, the gradients of
/// both, and what is just underway. For each row that it takes in at once: what the first pass keeps (the row, two
/// hidden tensors), the same of this pass, its result, what is made of the two once more and a gradient of that (those
/// of the two take their place), that of the row and that of its result. The experts' weight gradients of this pass and
/// of those before. The tokens' result and both gradients.
double bound_of(double receive_bound) {
  const double at_once = std::ceil(receive_bound * kRows);  // every rank has as many rows, so this is the even share's
  const double rows = kRows * 5.0 * kWidth, received = at_once * (5.0 * kWidth + 6.0 * kHidden);
  const double weights = 2.0 * kExperts / static_cast<double>(test_world()->size()) * 3 * kWidth * kHidden;
  return 4.0 * (rows + received + weights + 3.0 * kTokens * kWidth);
}

/// On the rank that needs most, in forward and backward. Collective.
double peak_of(double receive_bound, bool hot) {
  PeakBytes bytes;
  const auto world = test_world();
  const auto mesh = std::make_shared<const parallel::Mesh>(
      parallel::MeshConfig{.expert = world->size(), .receive_bound = receive_bound}, test_mpi_world()->duplicate(),
      test_mpi_world()->duplicate());
  const moetrain::ParameterSource source(3, at::TensorOptions(at::kFloat), mesh);
  const moetrain::DispatchedExperts experts(source, moetrain::builtin_experts(), {.width = kWidth, .hidden = kHidden},
                                            {.experts = kExperts, .hidden = kHidden});
  const std::string place = std::to_string(world->rank());
  const at::Tensor tokens_TD = random_tensor("tokens" + place, {kTokens, kWidth}).to(at::kFloat).requires_grad_(true);
  const at::Tensor weight_TK = at::full({kTokens, kTopK}, 0.5, at::kFloat).requires_grad_(true);
  at::Tensor expert_TK = at::arange(kRows, at::kLong).remainder(kExperts).view({kTokens, kTopK});
  if (hot) expert_TK = at::full_like(expert_TK, kHot);
  at::Tensor peak = at::zeros({1}, at::kDouble);
  for (int repeat = 0; repeat < 2; ++repeat) {  // the first makes the leaves' gradients
    const int64_t before = bytes.now();
    bytes.restart();
    const at::Tensor out_TD = experts.forward(tokens_TD, {expert_TK, weight_TK, kExperts});
    torch::autograd::backward({out_TD}, {at::ones_like(out_TD)});
    peak[0] = static_cast<double>(bytes.peak() - before);
  }
  world->all_reduce(peak, parallel::ReduceOp::kMax).wait();
  return peak.item<double>();
}

TEST(ReceiveMemory, OfOneHotExpert) {
  const auto ranks = static_cast<double>(test_world()->size());
  const bool first = test_world()->rank() == 0;
  for (const double receive_bound : {1.0, 1.5, ranks}) {
    const double hot = peak_of(receive_bound, true), even = peak_of(receive_bound, false);
    const double bound = bound_of(receive_bound);
    EXPECT_LE(hot, bound) << receive_bound;
    EXPECT_LE(even, bound) << receive_bound;
    // It is a bound of this routing, and no number that anything would stay below.
    EXPECT_GT(hot, 0.6 * bound) << receive_bound;
    if (first) {
      std::printf(
          "%.0f ranks, receive_bound %.1f: peak MB with all tokens on one expert %.2f, spread evenly %.2f, bound "
          "%.2f\n",
          ranks, receive_bound, hot / 1e6, even / 1e6, bound / 1e6);
    }
  }
  // All rows at once would not do.
  EXPECT_GT(peak_of(ranks, true), bound_of(1.0));
}

}  // namespace
}  // namespace receive_memory
