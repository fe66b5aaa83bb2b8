// Walks layouts of the ranks it is started on, each over communicators of its own in this one process, and prints how
// far each is from one rank: what tests/figures/{layouts_equal,layouts_adverse,rerun_bitwise,zero_memory,hosts_equal}
// start. One test for each: --gtest_filter=Walker.All
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdio>
#include <map>
#include <set>

#include "parallel/comm/agreement.h"
#include "tests/figures/walks.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

using parallel::MeshConfig;

std::vector<Walk> adverse_walks(const launch::Recipe& base, int64_t ranks) {
  std::vector<Walk> walks;
  const auto add = [&](const char* name, auto change) {
    for (MeshConfig mesh : {MeshConfig{.expert = ranks, .receive_bound = 1.0},
                            MeshConfig{.expert = ranks, .receive_bound = 1.0, .dispatch = "hierarchical"},
                            MeshConfig{.tensor = ranks}, MeshConfig{.tensor = ranks, .expert = ranks, .zero = 2}}) {
      launch::Recipe recipe = base;
      change(recipe, mesh);
      if (mesh.zero > 0) recipe.train.recompute = "block";
      walks.push_back({name, recipe, mesh});
    }
  };
  add("experts without tokens", [](auto& r, auto&) { r.moe.experts = 48, r.train.global_batch = 2; });
  add("ranks without tokens", [](auto& r, auto&) { r.train.global_batch = r.train.micro_batches = 1; });
  add("all tokens on one expert", [](auto& r, auto&) {
    r.moe.router = "thor", r.moe.template own<moetrain::ThorConfig>().granularity = "batch_layer", r.moe.top_k = 1,
    r.moe.gate = "hard";
    r.moe.losses["load_balance"] = r.moe.losses["router_z"] = 0;
  });
  add("uneven batch", [](auto& r, auto&) { r.train.global_batch = 15, r.train.micro_batches = 3; });
  add("fewer sequences than ranks", [](auto& r, auto&) { r.train.global_batch = 2; });
  add("uneven expert map", [ranks](auto& r, auto& mesh) {
    if (mesh.expert == 1) return;
    mesh.experts_by_rank.assign(static_cast<size_t>(ranks), 0);
    mesh.experts_by_rank.front() = 5;
    mesh.experts_by_rank.back() += r.moe.experts - 5;
  });
  return walks;
}

bool same_bits(const UpdateTrace& a, const UpdateTrace& b) {
  for (size_t i = 0; i < a.reports.size(); ++i) {
    if (a.reports[i].losses != b.reports[i].losses) return false;
  }
  for (size_t i = 0; i < a.parameters.size(); ++i) {
    if (!a.parameters[i].equal(b.parameters[i])) return false;
  }
  return true;
}

class Walker : public testing::Test {
 protected:
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  const TestFolder folder_{"walk", *world_};
  const launch::Recipe base_ = base_recipe(make_tiny_corpus(folder_, *world_));

  bool first() const { return world_->rank() == 0; }

  /// Of one rank that keeps all activations; computed there only, and once for each name of a recipe.
  const UpdateTrace& reference(const std::string& name, launch::Recipe recipe) {
    UpdateTrace& trace = references_[name];
    recipe.train.recompute = "none";
    if (first() && trace.reports.empty()) trace = run_updates(recipe, launch::local_groups(), 3);
    return trace;
  }

  /// On `hosts` as MPI finds them, or as stated_hosts has them.
  enum class Hosts { kFound, kStated };

  void walk(const std::vector<Walk>& walks, Hosts hosts = Hosts::kStated) {
    double worst = 0;
    for (const Walk& each : walks) {
      const UpdateTrace& expected = reference(each.name, each.recipe);
      const launch::Groups groups = test_groups(
          each.mesh, hosts == Hosts::kStated ? stated_hosts(each.mesh, world_->size()) : std::vector<int64_t>());
      const UpdateTrace trace = run_updates(each.recipe, groups, 3);
      const double apart = largest_difference(trace, expected);
      if (!first()) continue;
      worst = std::max(worst, apart);
      std::printf("%-28s %s, zero %lld, recompute %s%s: %.2e\n", each.name.c_str(),
                  groups.mesh->shape().describe().c_str(), static_cast<long long>(each.mesh.zero),
                  each.recipe.train.recompute.name(), groups.mesh->dispatches_by_host() ? ", by host" : "", apart);
      std::fflush(stdout);
      EXPECT_LE(apart, 1e-10) << each.name << ", " << groups.mesh->shape().describe();
    }
    if (first()) {
      std::printf("walked %zu layouts of %lld ranks, largest difference %.2e\n", walks.size(),
                  static_cast<long long>(world_->size()), worst);
    }
  }

 private:
  std::map<std::string, UpdateTrace> references_;
};

/// By a multi-host mpirun only: the covering layouts, on as many hosts as MPI finds.
TEST_F(Walker, Hosts) {
  const auto hosts = test_groups().mesh->hosts();
  const std::set<int64_t> distinct(hosts.begin(), hosts.end());
  ASSERT_GT(distinct.size(), 1u);
  if (first()) std::printf("%zu hosts\n", distinct.size());
  walk(covering(all_walks(base_, world_->size())), Hosts::kFound);
}

TEST_F(Walker, All) { walk(on_and_off(all_walks(base_, world_->size()))); }

TEST_F(Walker, Cover) { walk(covering(all_walks(base_, world_->size()))); }

/// What moves the weights, other than AdamW, which moves them everywhere else.
TEST_F(Walker, Updates) {
  for (const std::string& rule : optim::builtin_updates().names()) {
    if (rule == "adamw") continue;
    launch::Recipe recipe = base_;
    recipe.optimizer.kind = rule;
    std::vector<Walk> walks = covering(all_walks(recipe, world_->size()));
    for (Walk& each : walks) each.name += ", " + rule;
    walk(walks);
  }
}

TEST_F(Walker, Adverse) { walk(adverse_walks(base_, world_->size())); }

TEST_F(Walker, Rerun) {
  launch::Recipe recipe = base_;
  int64_t count = 0;
  for (const char* precision : {"float32", "bf16", "float64"}) {
    recipe.run.precision = precision;
    for (const Walk& each : covering(all_walks(recipe, world_->size()))) {
      const launch::Groups groups = test_groups(each.mesh, stated_hosts(each.mesh, world_->size()));
      const UpdateTrace once = run_updates(each.recipe, groups, 3), again = run_updates(each.recipe, groups, 3);
      EXPECT_TRUE(same_bits(once, again)) << precision << ", " << each.name << ", " << groups.mesh->shape().describe();
      ++count;
    }
  }
  if (first()) {
    std::printf("walked %lld layouts of %lld ranks twice\n", static_cast<long long>(count),
                static_cast<long long>(world_->size()));
  }
}

/// Bytes of what ZeRO divides, on the rank that has most of it.
TEST_F(Walker, Zero) {
  const auto corpus = data::TokenCorpus::open(base_.data.file);
  double alone[2] = {};
  for (const int64_t zero : {0, 1, 2}) {
    const launch::Groups groups = test_groups({.zero = zero});
    const auto model = launch::build_model(base_, corpus.tokenizer().vocabulary_size(), at::kCPU, groups.mesh);
    const auto reducer = launch::build_reducer(base_, *model, groups.mesh);
    const auto optimizer =
        launch::build_optimizer(base_, *model, *reducer, optim::resolve(base_.schedule, base_.schedule_rule(), 6, {}));
    int64_t state = 0;
    for (const auto& each : optimizer->state()) state += static_cast<int64_t>(each.tensor.nbytes());
    at::Tensor most = at::tensor({state, reducer->kept_bytes()}, at::kLong);
    groups.control->all_reduce(most, parallel::ReduceOp::kMax).wait();
    const double bytes[2] = {most[0].item<double>(), most[1].item<double>()};
    if (zero == 0) std::copy(bytes, bytes + 2, alone);
    const auto ranks = static_cast<double>(world_->size());
    EXPECT_NEAR(bytes[0], alone[0] / (zero >= 1 ? ranks : 1), 0.05 * bytes[0]) << "zero " << zero;
    EXPECT_NEAR(bytes[1], alone[1] / (zero >= 2 ? ranks : 1), 0.05 * bytes[1]) << "zero " << zero;
    if (first()) {
      std::printf("%lld ranks, zero %lld: optimizer state %.0f bytes (%.4f of all), kept gradients %.0f (%.4f)\n",
                  static_cast<long long>(world_->size()), static_cast<long long>(zero), bytes[0], bytes[0] / alone[0],
                  bytes[1], bytes[1] / alone[1]);
    }
  }
}

}  // namespace
