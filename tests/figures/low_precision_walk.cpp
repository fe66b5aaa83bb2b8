// float32 and bf16, as users run them, on layouts of the ranks it is started on: what tests/figures/layouts_equal
// starts beside the float64 table. Rounding decides near-ties between experts differently on another layout, so the
// single rank's decisions are injected, and those that would have flipped are counted.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "tests/figures/walks.h"
#include "tests/support/decision_tape.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

/// Largest relative differences that are allowed.
struct Bars {
  const char* precision;
  double losses;     // of 3 updates
  double gradients;  // of the first: of a tensor against its largest element
};
// In bf16 losses are 0.4 of its unit round-off apart (2^-8) in the worst of the layouts; whatever goes to a wrong place
// is apart by far more.
constexpr Bars kBars[] = {{"float32", 2e-6, 1e-5}, {"bf16", 2e-3, 5e-2}};

/// 0 where they are sharded. A tensor whose true gradient is zero holds only noise, so the scale of a tensor is at
/// least a hundredth of the largest element of all.
double gradients_apart(const UpdateTrace& trace, const UpdateTrace& reference) {
  double largest = 0, worst = 0;
  for (const at::Tensor& gradient : reference.gradients) {
    largest = std::max(largest, gradient.abs().max().item<double>());
  }
  for (size_t i = 0; i < trace.gradients.size(); ++i) {
    const at::Tensor& expected = reference.gradients[i];
    const double scale = std::max(expected.abs().max().item<double>(), 0.01 * largest);
    worst = std::max(worst, (trace.gradients[i] - expected).abs().max().item<double>() / scale);
  }
  return worst;
}

const RunOptions kOptions{.routers = taped_routers(), .gradients = true};

/// One rank that keeps all activations.
struct Reference {
  DecisionTape tape;
  UpdateTrace trace;
};

class LowPrecision : public testing::TestWithParam<Bars> {
 protected:
  /// On every rank, since each needs the tape.
  Reference& reference(const Walk& walk) {
    Reference& reference = references_[walk.name];
    if (!reference.trace.reports.empty()) return reference;
    launch::Recipe recipe = walk.recipe;
    recipe.train.recompute = "none";
    reference.tape.use(DecisionTape::Mode::kRecord);
    reference.trace = run_updates(recipe, launch::local_groups(), 3, kOptions);
    return reference;
  }

  int64_t over_ranks(int64_t count) const {
    at::Tensor sum = at::tensor({count}, at::kLong);
    world_->all_reduce(sum, parallel::ReduceOp::kSum).wait();
    return sum.item<int64_t>();
  }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  const TestFolder folder_{"low_precision", *world_};
  std::map<std::string, Reference> references_;
};

TEST_P(LowPrecision, Injected) {
  const Bars& bars = GetParam();
  launch::Recipe base = base_recipe(make_tiny_corpus(folder_, *world_));
  base.run.precision = bars.precision;
  const std::vector<Walk> walks = covering(all_walks(base, world_->size()));
  double losses = 0, gradients = 0;
  for (const Walk& walk : walks) {
    Reference& expected = reference(walk);
    expected.tape.use(DecisionTape::Mode::kInject);
    const launch::Groups groups = test_groups(walk.mesh);
    SCOPED_TRACE(walk.name + ", " + groups.mesh->shape().describe() + ", recompute " +
                 walk.recipe.train.recompute.name());
    const UpdateTrace trace = run_updates(walk.recipe, groups, 3, kOptions);
    const double loss = losses_apart(trace, expected.trace), gradient = gradients_apart(trace, expected.trace);
    EXPECT_LE(loss, bars.losses);
    EXPECT_LE(gradient, bars.gradients);
    losses = std::max(losses, loss);
    gradients = std::max(gradients, gradient);
  }
  int64_t flips = 0, choices = 0;
  for (const auto& [name, each] : references_) flips += each.tape.flips, choices += each.tape.choices;
  flips = over_ranks(flips);
  choices = over_ranks(choices);
  EXPECT_GT(choices, 0);
  if (world_->rank() != 0) return;
  std::printf(
      "%s, decisions injected, %zu layouts of %lld ranks: losses within %.1e (bar %.0e), gradients within %.1e "
      "(bar %.0e); of %lld choices %lld would have flipped\n",
      bars.precision, walks.size(), static_cast<long long>(world_->size()), losses, bars.losses, gradients,
      bars.gradients, static_cast<long long>(choices), static_cast<long long>(flips));
}

INSTANTIATE_TEST_SUITE_P(All, LowPrecision, testing::ValuesIn(kBars),
                         [](const auto& each) { return std::string(each.param.precision); });

}  // namespace
