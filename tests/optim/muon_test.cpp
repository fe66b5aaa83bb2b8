#include "optim/updates/muon.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "optim/optimizer.h"
#include "parallel/base/fault.h"
#include "tests/optim/noise.h"

namespace optim {
namespace {

Parameter matrices(const at::Tensor& tensor) {
  return {
      "weight", tensor,
      parallel::MatrixParts(parallel::whole_placement(tensor.sizes().vec()), std::make_shared<const parallel::Mesh>())};
}

/// The polynomial acts on singular values alone: the reference takes them one by one.
at::Tensor by_singular_values(const at::Tensor& matrix_RC, int64_t steps) {
  auto [u, s, v] = at::linalg_svd(matrix_RC, /*full_matrices=*/false);
  at::Tensor sigma = s / at::linalg_vector_norm(s);
  for (int64_t step = 0; step < steps; ++step) {
    sigma = 3.4445 * sigma - 4.775 * sigma.pow(3) + 2.0315 * sigma.pow(5);
  }
  return at::mm(u * sigma, v);
}

TEST(NearlyOrthogonal, TakesEachSingularValueThroughThePolynomial) {
  for (const auto& [rows, columns] : {std::pair{8, 8}, std::pair{5, 12}, std::pair{12, 5}, std::pair{1, 6}}) {
    const at::Tensor stack = noise("stack", rows, {3, rows, columns});
    for (const int64_t steps : {1, 5}) {
      const at::Tensor found = nearly_orthogonal(stack, steps);
      for (int64_t n = 0; n < 3; ++n) {
        EXPECT_TRUE(at::allclose(found[n], by_singular_values(stack[n], steps), 1e-9, 1e-12)) << rows << " " << n;
      }
    }
    const at::Tensor values = at::linalg_svdvals(nearly_orthogonal(stack, 5));
    EXPECT_GT(values.min().item<double>(), 0.6);
    EXPECT_LT(values.max().item<double>(), 1.25);
  }
}

TEST(NearlyOrthogonal, NothingStaysNothing) {
  EXPECT_TRUE(nearly_orthogonal(at::zeros({2, 3, 4}, at::kDouble), 5).eq(0).all().item<bool>());
  EXPECT_EQ(nearly_orthogonal(at::empty({0, 3, 4}, at::kDouble), 5).size(0), 0);
}

TEST(Muon, FollowsTheFormulaOfEachMatrix) {
  for (const bool nesterov : {true, false}) {
    OptimizerConfig config{.weight_decay = 0.3};
    config.own<MuonConfig>() = {.momentum = 0.9, .nesterov = nesterov, .steps = 4, .rms = 0.25};
    const at::Tensor weight = noise("weight", 0, {2, 4, 6}), flat = noise("weight", 1, {5, 3});
    std::vector<at::Tensor> expected{weight[0].clone(), weight[1].clone(), flat.clone()};
    std::vector<at::Tensor> momentum{at::zeros({4, 6}, at::kDouble), at::zeros({4, 6}, at::kDouble),
                                     at::zeros({5, 3}, at::kDouble)};
    Muon muon({matrices(weight), matrices(flat)}, config);
    for (int64_t step = 1; step <= 3; ++step) {
      const at::Tensor of_stack = noise("gradient", step, {2, 4, 6}), of_flat = noise("gradient", 9 + step, {5, 3});
      const double rate = 0.01 * static_cast<double>(step), scale = 1.0 / static_cast<double>(step);
      for (size_t m = 0; m < 3; ++m) {
        const at::Tensor gradient = (m < 2 ? of_stack[static_cast<int64_t>(m)] : of_flat) * scale;
        momentum[m] = 0.9 * momentum[m] + gradient;
        const at::Tensor direction = nesterov ? gradient + 0.9 * momentum[m] : momentum[m];
        const double longer = m < 2 ? 6 : 5;
        expected[m] =
            expected[m] - rate * (0.25 * std::sqrt(longer) * by_singular_values(direction, 4) + 0.3 * expected[m]);
      }
      muon.step({of_stack, of_flat}, {.learning_rate = rate, .gradient_scale = scale, .number = step});
    }
    EXPECT_TRUE(at::allclose(weight[0], expected[0], 1e-10, 1e-12));
    EXPECT_TRUE(at::allclose(weight[1], expected[1], 1e-10, 1e-12));
    EXPECT_TRUE(at::allclose(flat, expected[2], 1e-10, 1e-12));
    EXPECT_TRUE(at::allclose(muon.state(0)[1], momentum[2], 1e-12, 1e-14));
  }
}

/// Moonlight's reason for the factor: an update as large as AdamW's, whatever the shape.
TEST(Muon, UpdatesOfEveryShapeHaveTheSameSize) {
  for (const auto& [rows, columns] : {std::pair{16, 16}, std::pair{8, 64}, std::pair{64, 8}}) {
    const at::Tensor weight = at::zeros({rows, columns}, at::kDouble);
    Muon muon({matrices(weight)}, {.weight_decay = 0});
    muon.step({noise("gradient", rows, {rows, columns})}, {.learning_rate = 1});
    EXPECT_NEAR(weight.square().mean().sqrt().item<double>(), 0.2, 0.04) << rows << " x " << columns;
  }
}

TEST(Muon, RefusesAVector) {
  try {
    const Muon muon({{"norm.weight", at::ones({4}, at::kDouble)}}, {});
    FAIL() << "a vector was accepted";
  } catch (const parallel::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("norm.weight"), std::string::npos) << error.what();
  }
}

TEST(Muon, LeavesWhatHoldsNoMatricesToAdamW) {
  const auto parameters = [] {
    return std::vector<Parameter>{{"embedding", noise("embedding", 0, {5, 4})},
                                  matrices(noise("weight", 0, {4, 4})),
                                  {"gain", noise("gain", 0, {4})}};
  };
  const Schedule constant;
  const std::vector<Parameter> with_muon = parameters(), with_adamw = parameters();
  Optimizer muon(with_muon, {}, constant, muon_rule()), adamw(with_adamw, {}, constant);
  for (int64_t step = 1; step <= 3; ++step) {
    const std::vector<at::Tensor> gradients{noise("g", 3 * step, {5, 4}), noise("g", 3 * step + 1, {4, 4}),
                                            noise("g", 3 * step + 2, {4})};
    muon.step(gradients, 0.5);
    adamw.step(gradients, 0.5);
  }
  EXPECT_TRUE(with_muon[0].tensor.equal(with_adamw[0].tensor));
  EXPECT_FALSE(at::allclose(with_muon[1].tensor, with_adamw[1].tensor, 1e-3, 1e-3));
  EXPECT_TRUE(with_muon[2].tensor.equal(with_adamw[2].tensor));
  std::vector<std::string> names;
  for (const StateTensor& state : muon.state()) names.push_back(state.slot + "/" + state.name);
  EXPECT_EQ(names, (std::vector<std::string>{"momentum/weight", "first_moment/embedding", "second_moment/embedding",
                                             "first_moment/gain", "second_moment/gain"}));
}

}  // namespace
}  // namespace optim
