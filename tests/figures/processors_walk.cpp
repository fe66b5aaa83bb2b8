// The same choices on every processor: what tests/figures/processors starts under each stand-in for another one.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "data/hdf5/checksum.h"
#include "tests/figures/walks.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/random_tensor.h"
#include "tests/support/shaken_router.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

using parallel::MeshConfig;

struct TiedRecipe {
  const char* name;
  void (*change)(moetrain::MoeConfig&);
};

/// Every kind of choice between tokens, and between experts, on the tiny corpus with its repeated texts.
const TiedRecipe kTied[] = {
    {"drop by probability", [](moetrain::MoeConfig&) {}},
    {"expert choice",
     [](moetrain::MoeConfig& m) { m.router = "expert_choice", m.gate = "raw", m.losses["load_balance"] = 0; }},
    {"sinkhorn", [](moetrain::MoeConfig& m) { m.router = "sinkhorn", m.gate = "raw"; }},
    {"biased groups",
     [](moetrain::MoeConfig& m) {
       m.router = "sigmoid_bias",
       m.own<moetrain::SigmoidBiasConfig>() = {.groups = 4, .top_groups = 2, .bias_rate = 0.1};
     }},
};

launch::Recipe tied(launch::Recipe recipe, const TiedRecipe& how) {
  bound_experts(recipe.moe, 0.9, "probability");
  how.change(recipe.moe);
  return recipe;
}

std::vector<MeshConfig> tied_layouts(int64_t ranks) {
  std::vector<MeshConfig> layouts{{.zero = 1}, {.tensor = ranks}, {.expert = ranks, .zero = 2}};
  if (ranks % 2 == 0) layouts.push_back({.tensor = 2, .expert = ranks});
  return layouts;
}

class Processor : public testing::Test {
 protected:
  /// Of all `recipes` on all layouts, the largest difference from one rank.
  double apart(const std::string& name, const launch::Recipe& recipe, const RunOptions& options = {}) {
    const UpdateTrace reference = trace_of_one_rank(recipe, 3, options);
    double worst = 0;
    for (const MeshConfig& mesh : tied_layouts(world_->size())) {
      const launch::Groups groups = test_groups(mesh);
      const double here = largest_difference(run_updates(recipe, groups, 3, options), reference);
      worst = std::max(worst, here);
      if (first()) std::printf("%-20s %s: %.2e\n", name.c_str(), groups.mesh->shape().describe().c_str(), here);
    }
    return worst;
  }
  void say(const char* what, size_t layouts, double worst) const {
    if (!first()) return;
    std::printf("walked %zu layouts of %lld ranks%s, largest difference %.2e\n", layouts,
                static_cast<long long>(world_->size()), what, worst);
  }
  bool first() const { return world_->rank() == 0; }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  const TestFolder folder_{"processor", *world_};
  const launch::Recipe base_ = base_recipe(make_tiny_corpus(folder_, *world_));
};

/// Bits of products and sums such as layers and routers make them, a checksum each; of float64 first.
TEST_F(Processor, Products) {
  if (!first()) return;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const auto& [rows, inner, columns] : {std::array{192, 48, 24}, {31, 24, 17}, {7, 96, 260}, {1, 48, 3}}) {
      const at::Tensor a = random_tensor("a", {rows, inner}).to(type),
                       b = random_tensor("b", {inner, columns}).to(type);
      const at::Tensor product = at::mm(a, b);
      for (const at::Tensor& each : {product, at::softmax(product, 1), product.sum(0), at::silu(product)}) {
        const at::Tensor bytes = each.contiguous().to(at::kDouble);
        std::printf("product %s %s\n", c10::toString(type),
                    data::checksum(bytes.const_data_ptr(), bytes.nbytes()).c_str());
      }
    }
  }
}

/// One rank's numbers, to be held against another processor's.
TEST_F(Processor, Reference) {
  if (!first()) return;
  for (const TiedRecipe& how : kTied) {
    const UpdateTrace trace = run_updates(tied(base_, how), launch::local_groups(), 3);
    std::printf("reference %s:", how.name);
    for (const launch::StepReport& report : trace.reports) {
      for (const auto& [name, loss] : report.losses) std::printf(" %.17g", loss);
      std::printf(" %.17g", report.gradient_norm);
    }
    for (const at::Tensor& parameter : trace.parameters) {  // two numbers of the size of 1 each
      const at::Tensor direction = random_tensor("direction", parameter.sizes());
      std::printf(" %.17g %.17g", parameter.norm().item<double>(),
                  at::cosine_similarity(parameter.flatten(), direction.flatten(), 0).item<double>() + 1);
    }
    std::printf("\n");
  }
}

TEST_F(Processor, Ties) {
  double worst = 0;
  for (const TiedRecipe& how : kTied) worst = std::max(worst, apart(how.name, tied(base_, how)));
  say(" with ties", std::size(kTied) * tied_layouts(world_->size()).size(), worst);
  EXPECT_LE(worst, 1e-10);
}

/// A router that leaves ties to the last bit, which is shaken because equal rows of small products have equal bits on
/// many processors; the figure expects differences of it.
TEST_F(Processor, Planted) {
  say(" by bits", tied_layouts(world_->size()).size(),
      apart("by bits", tied(base_, kTied[0]), {.routers = shaken_routers<Tie::kByBits>()}));
}

}  // namespace
