// One update of a fixed recipe on several hosts, its rows dispatched flat or by host: what tests/figures/hosts_equal
// starts by launch/emulate, which counts the bytes between hosts. Prints what they must be, from the choices of one
// rank alone.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <string>
#include <tuple>

#include "parallel/comm/local_communicator.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"

namespace hosts {
namespace {

constexpr int64_t kSequences = 64, kLength = 64, kTokens = kSequences * kLength;
constexpr int64_t kWidth = 128, kTopK = 4, kBytes = 8;  // float64

launch::Recipe wide_recipe(const std::string& corpus, int64_t experts) {
  launch::Recipe recipe = tiny_recipe(corpus);
  recipe.data.sequence_length = kLength;
  recipe.train.global_batch = kSequences;
  recipe.model.layers = 1;
  recipe.model.width = kWidth;
  recipe.model.heads = 4;
  recipe.moe.experts = experts;
  recipe.moe.top_k = kTopK;
  recipe.moe.hidden = 8;
  return recipe;
}

/// The first update's choices of all tokens [T, K], as one rank alone makes them.
at::Tensor choices(const launch::Recipe& recipe) {
  const at::NoGradGuard no_gradient;
  const auto corpus = data::TokenCorpus::open(recipe.data.file);
  const launch::MicroBatch batch = launch::make_training_batches(corpus, recipe, {})->read(0).front();
  const auto model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU);
  parallel::LocalCommunicator alone;
  const moetrain::ModelOutput output = model->forward(
      batch.batch.inputs, {.group = alone, .training = true, .draws = {static_cast<uint64_t>(recipe.run.seed), 0}});
  return output.routing.at(0).decision.assignment.expert_TK;
}

/// Copies that go to other hosts, and distinct (token, other host): rank r of R has tokens r T / R to (r + 1) T / R and
/// experts r E / R to (r + 1) E / R.
std::pair<int64_t, int64_t> crossing(const at::Tensor& expert_TK, int64_t experts, const std::vector<int64_t>& hosts) {
  const auto ranks = static_cast<int64_t>(hosts.size());
  const auto host_of = [&](int64_t rank) { return hosts[static_cast<size_t>(rank)]; };
  int64_t copies = 0, once = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    std::set<int64_t> others;
    for (int64_t k = 0; k < kTopK; ++k) {
      const int64_t host = host_of(expert_TK[t][k].item<int64_t>() / (experts / ranks));
      if (host == host_of(t / (kTokens / ranks))) continue;
      ++copies;
      others.insert(host);
    }
    once += static_cast<int64_t>(others.size());
  }
  return {copies, once};
}

class HostBytes : public testing::TestWithParam<std::tuple<int64_t, std::string>> {};

TEST_P(HostBytes, Move) {
  const auto& [experts, dispatch] = GetParam();
  const auto world = test_world();
  const TestFolder folder("host_bytes", *world);
  const launch::Recipe recipe = wide_recipe(make_tiny_corpus(folder, *world), experts);
  parallel::MeshConfig mesh{.expert = world->size()};
  if (dispatch == "hierarchical") mesh.dispatch = dispatch;
  const launch::Groups groups = launch::make_groups(test_mpi_world(), at::kCPU, launch::Checks::kOff, mesh);
  ASSERT_EQ(groups.mesh->dispatches_by_host(), dispatch == "hierarchical");
  run_updates(recipe, groups, dispatch == "none" ? 0 : 1, {.plan = parallel::Plan{}});
  if (world->rank() != 0) return;
  const auto [copies, once] = crossing(choices(recipe), experts, groups.mesh->hosts());
  // There and back, in forward and in backward. By host: there, each token once; tables of 4 bytes a copy; weights.
  const int64_t row = kWidth * kBytes, flat = 4 * copies * row;
  const int64_t by_host = 2 * copies * row + 2 * once * row + copies * (4 + kBytes);
  std::printf(
      "walked %lld tokens, copies to other hosts %lld, tokens to other hosts %lld, bytes flat %lld by host %lld\n",
      static_cast<long long>(kTokens), static_cast<long long>(copies), static_cast<long long>(once),
      static_cast<long long>(flat), static_cast<long long>(by_host));
}

INSTANTIATE_TEST_SUITE_P(All, HostBytes,
                         testing::Combine(testing::Values(8, 16), testing::Values("none", "flat", "hierarchical")),
                         [](const auto& each) {
                           return std::to_string(std::get<0>(each.param)) + "_" + std::get<1>(each.param);
                         });

}  // namespace
}  // namespace hosts
