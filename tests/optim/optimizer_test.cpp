#include "optim/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "optim/clipping/global_norm.h"
#include "optim/precision/master_weights.h"
#include "parallel/base/random.h"

namespace optim {
namespace {

const Schedule kConstant;
const Schedule kFalling = resolve({.kind = "cosine", .warmup = {2, parallel::Unit::kUpdates}, .final_scale = 0.1},
                                  builtin_schedules().at("cosine"), /*length=*/12, {});

at::Tensor gradient_at(int64_t update, at::IntArrayRef shape, at::ScalarType type) {
  const parallel::RandomStream stream(5, "gradient", 0, update);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data_ptr<double>()[i] = stream.normal(i);
  return tensor.to(type);
}

void step_times(Optimizer& optimizer, int64_t first, int64_t count) {
  for (int64_t update = first; update < first + count; ++update) {
    const std::vector<at::Tensor> gradients{gradient_at(update, {3, 4}, at::kFloat),
                                            gradient_at(update, {4}, at::kFloat)};
    optimizer.step(gradients, global_norm(gradients));
  }
}

std::vector<Parameter> two_parameters(at::ScalarType type) {
  return {{"matrix", at::full({3, 4}, 0.5, type)}, {"gain", at::ones({4}, type)}};
}

TEST(GlobalNorm, IsTheRootOfAllSquares) {
  EXPECT_EQ(global_norm({}), 0.0);
  EXPECT_EQ(global_norm({at::zeros({3}, at::kFloat)}), 0.0);
  EXPECT_DOUBLE_EQ(global_norm({at::full({2, 2}, 2.0, at::kFloat), at::full({}, -3.0, at::kFloat)}), 5.0);
  EXPECT_DOUBLE_EQ(global_norm({at::empty({0}, at::kDouble), at::full({1}, -3.0, at::kDouble)}), 3.0);
}

TEST(GlobalNorm, AddsTheTensorsInFloat64) {
  // 1 + 1e-10 a tensor, a thousand times: lost in a float32 sum.
  std::vector<at::Tensor> tensors{at::ones({1}, at::kFloat)};
  for (int i = 0; i < 1000; ++i) tensors.push_back(at::full({1}, 1e-5, at::kFloat));
  const double small = static_cast<double>(1e-5f);
  EXPECT_NEAR(global_norm(tensors), std::sqrt(1 + 1000 * small * small), 1e-14);
}

TEST(GlobalNorm, SpreadsNaNAndInfinity) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(global_norm({at::ones({3}, at::kFloat), at::full({1}, std::nan(""), at::kFloat)})));
  EXPECT_EQ(global_norm({at::ones({3}, at::kFloat), at::full({1}, -infinity, at::kFloat)}), infinity);
}

TEST(ClipScale, BringsTheNormDownAndNeverUp) {
  EXPECT_DOUBLE_EQ(clip_scale(4.0, 1.0), 0.25);
  EXPECT_DOUBLE_EQ(clip_scale(1.0, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_scale(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_scale(0.0, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_scale(1e9, 0.0), 1.0);  // 0: no clipping
}

TEST(MasterWeights, WideWeightsAreTheirOwnMasters) {
  const at::Tensor single = at::ones({2}, at::kFloat).requires_grad_(true), wide = at::ones({2}, at::kDouble);
  const MasterWeights masters({single, wide});
  EXPECT_EQ(masters.tensors()[0].data_ptr(), single.data_ptr());
  EXPECT_EQ(masters.tensors()[1].data_ptr(), wide.data_ptr());
  EXPECT_FALSE(masters.tensors()[0].requires_grad());
}

TEST(MasterWeights, LowPrecisionWeightsAreRoundedMasters) {
  const at::Tensor low = at::ones({2}, at::kBFloat16).requires_grad_(true), single = at::ones({2}, at::kFloat);
  MasterWeights masters({low, single});
  ASSERT_EQ(masters.tensors()[0].scalar_type(), at::kFloat);
  at::Tensor master = masters.tensors()[0];
  master.fill_(1.0009765625);  // 1 + 2^-10; bfloat16 has 7 bits behind the point
  masters.publish();
  EXPECT_EQ(low[0].item<double>(), 1.0);
  master.fill_(1.0078125);  // 1 + 2^-7
  masters.publish();
  EXPECT_EQ(low[0].item<double>(), 1.0078125);
  EXPECT_EQ(single[0].item<double>(), 1.0);
}

/// Bit for bit what it is without; the weights are copies of masters that lie apart.
TEST(Optimizer, OffloadedUpdatesAreTheSame) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const std::vector<Parameter> here = two_parameters(type), there = two_parameters(type);
    Optimizer plain(here, {.clip_norm = 0.5}, kFalling),
        offloaded(there, {.clip_norm = 0.5, .offload = true}, kFalling);
    for (const NamedTensor& master : offloaded.masters()) {
      EXPECT_TRUE(master.tensor.device().is_cpu());
      EXPECT_EQ(master.tensor.scalar_type(), at::kFloat);
    }
    EXPECT_NE(offloaded.masters()[0].tensor.data_ptr(), there[0].tensor.data_ptr());
    step_times(plain, 0, 5);
    step_times(offloaded, 0, 5);
    for (size_t i = 0; i < here.size(); ++i) {
      EXPECT_TRUE(there[i].tensor.equal(here[i].tensor)) << here[i].name;
      EXPECT_FALSE(there[i].tensor.equal(two_parameters(type)[i].tensor)) << here[i].name << " has not moved";
      EXPECT_TRUE(offloaded.state()[2 * i].tensor.equal(plain.state()[2 * i].tensor)) << here[i].name;
    }
  }
}

TEST(Optimizer, SmallUpdatesOfLowPrecisionWeightsAreNotLost) {
  // Each update moves a weight of 1 by 1e-3: a quarter of the half-step at which bfloat16 below 1 rounds back.
  const OptimizerConfig config{.learning_rate = 1e-3, .epsilon = 1e-12, .weight_decay = 0, .clip_norm = 0};
  const at::Tensor low = at::ones({4}, at::kBFloat16), directly = at::ones({4}, at::kBFloat16);
  Optimizer optimizer({{"gain", low}}, config, kConstant);
  at::Tensor naive = directly.clone();
  for (int update = 0; update < 20; ++update) {
    optimizer.step({at::ones({4}, at::kFloat)}, 2.0);
    naive -= 1e-3;  // what an update without masters would do
  }
  EXPECT_NEAR(optimizer.masters()[0].tensor[0].item<double>(), 0.98, 1e-6);
  EXPECT_EQ(low[0].item<double>(), 0.98046875);  // the bfloat16 next to 0.98
  EXPECT_EQ(naive[0].item<double>(), 1.0);
}

TEST(Optimizer, ReportsWhatTheUpdateUsed) {
  const OptimizerConfig config{.learning_rate = 0.5, .clip_norm = 2.0};
  Optimizer optimizer(two_parameters(at::kFloat), config, kFalling);
  const std::vector<at::Tensor> gradients{at::ones({3, 4}, at::kFloat), at::full({4}, 1.0, at::kFloat)};
  const UpdateReport first = optimizer.step(gradients, 4.0);
  EXPECT_DOUBLE_EQ(first.learning_rate, 0.25);  // half of the warm-up
  EXPECT_DOUBLE_EQ(first.clip_scale, 0.5);
  const UpdateReport second = optimizer.step(gradients, 1.0);
  EXPECT_DOUBLE_EQ(second.learning_rate, 0.5);
  EXPECT_DOUBLE_EQ(second.clip_scale, 1.0);
  EXPECT_EQ(optimizer.updates(), 2);
}

TEST(Optimizer, ClippingEqualsScaledGradients) {
  const auto run = [](double clip_norm, double factor) {
    const at::Tensor weight = at::full({3, 4}, 0.5, at::kDouble);
    Optimizer optimizer({{"matrix", weight}}, {.epsilon = 1e-2, .clip_norm = clip_norm}, kConstant);
    for (int64_t update = 0; update < 3; ++update) {
      const at::Tensor gradient = gradient_at(update, {3, 4}, at::kDouble);
      const double norm = global_norm({gradient});
      optimizer.step({gradient * (factor / norm)}, factor);
    }
    return weight;
  };
  // Gradients of norm 7 clipped to 0.3 are gradients of norm 0.3.
  EXPECT_TRUE(at::allclose(run(0.3, 7.0), run(0.0, 0.3), 1e-13, 1e-15));
  EXPECT_FALSE(at::allclose(run(0.3, 7.0), run(0.0, 7.0), 1e-4, 1e-6));
}

TEST(Optimizer, StateNamesEveryMomentOnce) {
  Optimizer optimizer(two_parameters(at::kBFloat16), {}, kConstant);
  std::vector<std::string> names;
  for (const StateTensor& state : optimizer.state()) {
    names.push_back(state.slot + "/" + state.name);
    EXPECT_EQ(state.tensor.scalar_type(), at::kFloat);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"first_moment/matrix", "second_moment/matrix", "first_moment/gain",
                                             "second_moment/gain"}));
  EXPECT_EQ(optimizer.masters()[1].name, "gain");
}

TEST(Optimizer, KeepsARunningMeanOfTheWeights) {
  const std::vector<Parameter> parameters = two_parameters(at::kFloat);
  Optimizer optimizer(parameters, {.average = 0.75}, kConstant);
  at::Tensor mean = parameters[0].tensor.clone();
  for (int64_t update = 0; update < 4; ++update) {
    step_times(optimizer, update, 1);
    mean = mean * 0.75 + parameters[0].tensor * 0.25;
  }
  const std::vector<StateTensor> state = optimizer.state();
  ASSERT_EQ(state.size(), 6u);
  EXPECT_EQ(state[4].slot + "/" + state[4].name, "average/matrix");
  EXPECT_TRUE(at::allclose(state[4].tensor, mean, 1e-6, 1e-7));
  EXPECT_FALSE(at::allclose(state[4].tensor, parameters[0].tensor, 1e-4, 1e-6));
}

TEST(Optimizer, ResumedRunEqualsTheUnbrokenOneBitForBit) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const std::vector<Parameter> unbroken = two_parameters(type), before = two_parameters(type),
                                 after = two_parameters(type);
    Optimizer whole(unbroken, {}, kFalling), first(before, {}, kFalling), second(after, {}, kFalling);
    step_times(whole, 0, 7);
    step_times(first, 0, 3);
    // What a checkpoint carries: masters, moments, the count.
    for (size_t i = 0; i < 2; ++i) second.masters()[i].tensor.copy_(first.masters()[i].tensor);
    const std::vector<StateTensor> saved = first.state(), loaded = second.state();
    for (size_t i = 0; i < saved.size(); ++i) loaded[i].tensor.copy_(saved[i].tensor);
    second.resume_at(3);
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(after[i].tensor.equal(before[i].tensor)) << type;
    step_times(second, 3, 4);
    EXPECT_EQ(second.updates(), whole.updates());
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(after[i].tensor.equal(unbroken[i].tensor)) << type;
      EXPECT_TRUE(second.masters()[i].tensor.equal(whole.masters()[i].tensor)) << type;
    }
  }
}

}  // namespace
}  // namespace optim
