#include "parallel/phases/phase.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <thread>

namespace parallel {
namespace {

using std::chrono::milliseconds;

std::map<std::string, double> taken(PhaseClock& clock) {
  const auto pairs = clock.take();
  return {pairs.begin(), pairs.end()};
}

void sleep(int count) { std::this_thread::sleep_for(milliseconds(count)); }

/// At least so long, and not twice as long as on a machine that has nothing else to do, times ten.
void expect_about(double seconds, int milliseconds_slept) {
  EXPECT_GE(seconds, 1e-3 * milliseconds_slept);
  EXPECT_LT(seconds, 1e-2 * milliseconds_slept + 0.1);
}

TEST(PhaseClock, EachMomentIsOfTheInnermostPhase) {
  PhaseClock clock;
  sleep(20);
  {
    const Phase outer(PhaseName::kAttention);
    sleep(30);
    in_phase(PhaseName::kHead, [] {
      sleep(40);
      return 0;
    });
    sleep(10);
  }
  auto seconds = taken(clock);
  expect_about(seconds.at("other"), 20);
  expect_about(seconds.at("attention"), 40);
  expect_about(seconds.at("head"), 40);
  EXPECT_EQ(seconds.at("route"), 0);
  EXPECT_EQ(seconds.size(), names_of(PhaseName{}).size() + 1);
  EXPECT_LT(taken(clock).at("attention"), 1e-2);  // counted once
}

/// Doubles, and takes its time in backward.
struct Slow : torch::autograd::Function<Slow> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& input) { return 2 * input; }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list gradients) {
    sleep(30);
    return {2 * gradients[0]};
  }
};

TEST(PhaseClock, BackwardIsOfThePhaseThatMadeTheNode) {
  const at::Tensor input = at::ones({4}).requires_grad_();
  PhaseClock clock;
  at::Tensor output = in_phase(PhaseName::kRoute, [&] { return Slow::apply(input); });
  output = in_phase(PhaseName::kDispatch, [&] {
    const at::Tensor inner = in_phase(PhaseName::kExperts, [&] { return Slow::apply(output); });
    return Slow::apply(inner);
  });
  torch::autograd::backward({Slow::apply(output).sum()}, {});
  const auto seconds = taken(clock);
  for (const char* name : {"route", "dispatch", "experts", "other"}) expect_about(seconds.at(name), 30);
  EXPECT_EQ(seconds.at("head"), 0);
  EXPECT_TRUE(at::equal(input.grad(), at::full({4}, 16.0)));
}

TEST(PhaseClock, NobodyListensAfterwards) {
  { PhaseClock clock; }
  const Phase phase(PhaseName::kHead);  // of nobody's time
  PhaseClock clock;
  sleep(5);
  expect_about(taken(clock).at("other"), 5);
}

}  // namespace
}  // namespace parallel
