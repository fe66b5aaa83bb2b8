// Choices on which round-off has no say: with every score shaken by what another processor or layout would make of it,
// tokens with the same history among them, an update is the same.
#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/shaken_router.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

struct ShakenCase {
  const char* name;
  void (*change)(moetrain::MoeConfig&);
};

void by_probability(moetrain::MoeConfig& moe, double factor = 0.9) { bound_experts(moe, factor, "probability"); }

void use(moetrain::MoeConfig& moe, const char* router, int64_t top_k, const char* gate) {
  moe.router = router, moe.top_k = top_k, moe.gate = gate;
}

const ShakenCase kShakenCases[] = {
    {"top_k", [](moetrain::MoeConfig&) {}},
    {"drop_by_probability", [](moetrain::MoeConfig& m) { by_probability(m); }},
    {"switch_router", [](moetrain::MoeConfig& m) { use(m, "switch", 1, "raw"), by_probability(m, 0.7); }},
    {"gshard", [](moetrain::MoeConfig& m) { use(m, "gshard", 2, "sum1_kept"), by_probability(m, 0.8); }},
    {"noisy_top_k", [](moetrain::MoeConfig& m) { use(m, "noisy_top_k", 2, "sum1"), by_probability(m); }},
    {"cosine",
     [](moetrain::MoeConfig& m) {
       use(m, "cosine", 1, "raw"), m.own<moetrain::CosineConfig>().width = 4, by_probability(m);
     }},
    {"mlp", [](moetrain::MoeConfig& m) { use(m, "mlp", 2, "sum1"), m.gating_residual = true, by_probability(m); }},
    {"sigmoid_bias_in_groups",
     [](moetrain::MoeConfig& m) {
       use(m, "sigmoid_bias", 2, "sum1"),
           m.own<moetrain::SigmoidBiasConfig>() = {.groups = 3, .top_groups = 2, .bias_rate = 0.1}, by_probability(m);
     }},
    {"expert_choice",
     [](moetrain::MoeConfig& m) {
       use(m, "expert_choice", 2, "raw"), by_probability(m, 1.0), m.losses["load_balance"] = 0;
     }},
    {"sinkhorn", [](moetrain::MoeConfig& m) { use(m, "sinkhorn", 2, "raw"), by_probability(m); }},
    {"null_experts", [](moetrain::MoeConfig& m) { m.null_experts = 6, m.top_k = 4, by_probability(m); }},
};

class Shaken : public testing::Test {
 protected:
  double shaken_apart(const launch::Recipe& recipe, const RunOptions& options) {
    const UpdateTrace reference = trace_of_one_rank(recipe, 3);
    return largest_difference(run_updates(recipe, test_groups(), 3, options), reference);
  }
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"round_off", *world_};
  launch::Recipe recipe_ = tiny_recipe(make_tiny_corpus(folder_, *world_));
};

class RoundOff : public Shaken, public testing::WithParamInterface<ShakenCase> {};

TEST_P(RoundOff, HasNoSayInChoices) {
  GetParam().change(recipe_.moe);
  EXPECT_LE(shaken_apart(recipe_, {.routers = shaken_routers<Tie::kByRouter>()}), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(All, RoundOff, testing::ValuesIn(kShakenCases),
                         [](const auto& each) { return std::string(each.param.name); });

/// What the test above would find in a router that chose by the last bit.
TEST_F(Shaken, ShowsARouterThatChoosesByBits) {
  by_probability(recipe_.moe);
  EXPECT_GT(shaken_apart(recipe_, {.routers = shaken_routers<Tie::kByBits>()}), 1e-7);
}

}  // namespace
