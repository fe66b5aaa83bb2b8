// Counts what one update moves over each axis of a few layouts and holds it against formulae written out here: what
// tests/figures/axis_bytes starts. parallel/README.md has the same formulae.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>

#include "parallel/comm/local_communicator.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"

namespace axis_bytes {
namespace {

using parallel::MeshConfig;
using Bytes = std::map<std::string, int64_t>;  // by axis, of all ranks together; an axis that moves nothing is absent

// One dense block and one MoE block, swiglu, tied embeddings, float64: every element has 8 bytes.
constexpr int64_t kSequences = 12, kLength = 16, kTokens = 12 * 16;
constexpr int64_t kWidth = 24, kHidden = 36, kKeyHeads = 2, kKeyWidth = 4;  // 12 heads of 2
constexpr int64_t kExperts = 4, kTopK = 2, kExpertHidden = 16;

launch::Recipe fixed_recipe(const std::string& corpus) {
  launch::Recipe recipe;
  recipe.data = {.file = corpus, .sequence_length = kLength};
  recipe.run.precision = "float64";
  recipe.model.layers = 2;
  recipe.model.width = kWidth;
  recipe.model.heads = 12;
  recipe.model.kv_heads = kKeyHeads;
  recipe.model.ffn_hidden = kHidden;
  recipe.model.init_std = 0.1;
  recipe.moe.layers = "odd";
  recipe.moe.experts = kExperts;
  recipe.moe.top_k = kTopK;
  recipe.moe.hidden = kExpertHidden;
  recipe.train.length = {6, parallel::Unit::kUpdates};
  recipe.train.global_batch = kSequences;
  recipe.train.micro_batches = 1;
  recipe.schedule.warmup = {2, parallel::Unit::kUpdates};
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

/// How many choices have their expert on another rank of the expert axis: rank r has tokens r T / R to (r + 1) T / R,
/// and place (r / expert_tensor) mod expert on the axis, whose rank x has experts x E / expert to (x + 1) E / expert.
int64_t crossing(const at::Tensor& expert_TK, const MeshConfig& mesh, int64_t ranks) {
  int64_t rows = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    const int64_t own = t / (kTokens / ranks) / mesh.expert_tensor % mesh.expert;
    for (int64_t k = 0; k < kTopK; ++k) {
      rows += expert_TK[t][k].item<int64_t>() / (kExperts / mesh.expert) != own;
    }
  }
  return rows;
}

/// Of ranks that have the whole expert axis, the halves of it on two hosts: what the ways there move when a token goes
/// once to each host. `between`: rows handed in for the other host, its tables' entries; `inside`: rows for neighbours.
struct ByHost {
  int64_t between = 0, entries = 0, inside = 0;
};
ByHost by_host(const at::Tensor& expert_TK, int64_t ranks) {
  ByHost rows;
  const int64_t half = ranks / 2;
  for (int64_t t = 0; t < kTokens; ++t) {
    const int64_t own = t / (kTokens / ranks);
    bool crosses = false;
    for (int64_t k = 0; k < kTopK; ++k) {
      const int64_t to = expert_TK[t][k].item<int64_t>() / (kExperts / ranks);
      const bool other = to / half != own / half;
      const int64_t taker = other ? (own + half) % ranks : own;  // of the same place in the other half
      crosses |= other;
      rows.entries += other;
      rows.inside += to != taker;
    }
    rows.between += crosses;
  }
  return rows;
}

struct Layout {
  MeshConfig mesh;
  const char* recompute = "none";
};

/// The closed forms. `vocabulary`: rows of the embedding.
Bytes expected(const Layout& layout, int64_t ranks, int64_t vocabulary, const at::Tensor& expert_TK) {
  const MeshConfig& mesh = layout.mesh;
  // How often each exchange is made: forward, backward, and forward again where it is recomputed.
  const std::string recompute = layout.recompute;
  const int64_t of_experts = recompute == "none" ? 2 : 3, counts = of_experts - 1;
  const int64_t data = ranks / mesh.tensor, block = mesh.expert * mesh.expert_tensor;
  // Parameters: what a tensor group divides (embedding, queries and outputs of attention, the dense feed-forward; keys
  // and values where their heads come out even), what nobody divides (5 norms, the router), the experts.
  const int64_t keys = 2 * 2 * kWidth * kKeyWidth;
  const bool keys_divided = kKeyHeads % mesh.tensor == 0;
  const int64_t divided =
      vocabulary * kWidth + 2 * 2 * kWidth * kWidth + 3 * kWidth * kHidden + (keys_divided ? keys : 0);
  const int64_t undivided = 5 * kWidth + kExperts * kWidth + (keys_divided ? 0 : keys);
  const int64_t experts = kExperts * 3 * kWidth * kExpertHidden;
  const bool zero = mesh.zero > 0;
  Bytes bytes;
  // The count of targets, 3 losses, entropy and drops of the MoE block: all-reduced by every rank.
  bytes["control"] = ranks * 8 * (1 + 3 + 2);
  // How often each expert is chosen, by rank of choice. With ZeRO the gradient's square too is of all ranks.
  bytes["world"] = ranks * 8 * (kTopK * kExperts + (zero ? 1 : 0));
  if (mesh.tensor > 1) {
    // 8 exchanges (embedding; 2 of each attention; 2 of the feed-forward; head) are a gather of all tokens, in which
    // each is handed in once, and a sum, in which each is handed in by the other ranks of its group: in forward one of
    // the two, in backward the other. The head's 3 all-reduces (largest logit, normaliser, target's logit) have one
    // number for each token of the group from each rank. Then the gradient's square.
    bytes["tensor"] = 8 * kTokens * kWidth * 8 * (1 + (mesh.tensor - 1)) + 3 * kTokens * mesh.tensor * 8;
    if (!zero) bytes["tensor"] += ranks * 8;
    // Both attentions and the feed-forward gather and sum once more.
    if (recompute == "block") bytes["tensor"] += 3 * kTokens * kWidth * 8 * (1 + (mesh.tensor - 1));
  }
  // Rows go there and back each time.
  if (mesh.expert > 1) bytes["expert"] = 2 * of_experts * crossing(expert_TK, mesh, ranks) * kWidth * 8;
  if (mesh.dispatch == parallel::Dispatch::kHierarchical) {
    // Back as before; there by host, with tables of 4 bytes a copy and, in backward, the weight of each copy.
    const int64_t flat = crossing(expert_TK, mesh, ranks);
    const ByHost rows = by_host(expert_TK, ranks);
    bytes["expert"] = 2 * flat * kWidth * 8 + 2 * rows.between * kWidth * 8 + rows.entries * 4 + flat * 8;
    bytes["expert.inside"] = 2 * rows.inside * kWidth * 8;
  }
  // Each time every choice's row is handed in once, and its result by the other ranks.
  if (mesh.expert_tensor > 1) {
    bytes["expert_tensor"] = of_experts * kTokens * kTopK * kWidth * 8 * (1 + (mesh.expert_tensor - 1));
  }
  // Rows for each expert; then the gradient's square.
  if (block > 1) bytes["experts"] = ranks * 8 * (counts * kExperts + (zero ? 0 : 1));
  // All-reduce: each of `sharers` ranks hands in all it holds. ZeRO's reduce-scatter: all but its own part, so
  // sharers - 1 times what they hold; its all-gather of the new parameters: once.
  const auto shared = [&](int64_t sharers, int64_t held_by_all_ranks) {
    const int64_t distinct = held_by_all_ranks / sharers;
    return 8 * (zero ? (sharers - 1) * distinct + distinct : held_by_all_ranks);
  };
  const bool folded = mesh.tensor > 1;
  bytes["gradients.world"] = shared(ranks, ranks * (undivided + (folded ? 0 : divided)));
  if (folded && data > 1) bytes["gradients.data"] = shared(data, data * divided);
  if (ranks / block > 1) bytes["gradients.expert_data"] = shared(ranks / block, ranks / block * experts);
  return bytes;
}

/// Of all updates and of what run_updates does around them. Collective.
Bytes counted(const launch::Recipe& recipe, const launch::Groups& groups, int64_t updates,
              parallel::Communicator& world) {
  groups.ledger->reset();
  run_updates(recipe, groups, updates, {.plan = parallel::Plan{}});  // by host, each chunk has tables of its own
  const auto traffic = groups.ledger->by_axis();
  Bytes bytes;
  for (const char* axis : {"control", "world", "data", "tensor", "expert", "expert_tensor", "experts", "expert.inside",
                           "gradients.world", "gradients.data", "gradients.expert_data"}) {
    const auto found = traffic.find(axis);
    at::Tensor sum = at::tensor({found != traffic.end() ? found->second.bytes : int64_t{0}}, at::kLong);
    world.all_reduce(sum, parallel::ReduceOp::kSum).wait();
    bytes[axis] = sum.item<int64_t>();
  }
  return bytes;
}

std::vector<Layout> layouts(int64_t ranks) {
  if (ranks == 2) {
    return {{},
            {{.expert = 2}},
            {{.expert_tensor = 2}},
            {{.tensor = 2}},
            {{.zero = 1}},
            {{.expert = 2}, "moe"},
            {{.tensor = 2}, "block"}};
  }
  return {{},
          {{.expert = 2, .expert_tensor = 2}},
          {{.expert = 2}},
          {{.expert = 4, .dispatch = "hierarchical"}},
          {{.tensor = 2, .expert = 4}},
          {{.tensor = 4}},
          {{.tensor = 2, .expert = 2, .zero = 1}},
          {{.tensor = 2, .expert = 2, .expert_tensor = 2}, "moe"},
          {{.tensor = 2, .expert = 2, .expert_tensor = 2}, "block"}};
}

TEST(AxisBytes, EqualClosedForms) {
  const auto world = test_world();
  const TestFolder folder("axis_bytes", *world);
  launch::Recipe recipe = fixed_recipe(make_tiny_corpus(folder, *world));
  const int64_t vocabulary = data::TokenCorpus::open(recipe.data.file).tokenizer().vocabulary_size();
  const at::Tensor expert_TK = choices(recipe);
  std::set<std::string> moving;
  for (const Layout& layout : layouts(world->size())) {
    const launch::Groups groups = test_groups(layout.mesh, stated_hosts(layout.mesh, world->size()));
    recipe.train.recompute = layout.recompute;
    const Bytes around = counted(recipe, groups, 0, *world);
    Bytes update = counted(recipe, groups, 1, *world);
    for (auto& [axis, bytes] : update) bytes -= around.at(axis);
    std::erase_if(update, [](const auto& each) { return each.second == 0; });
    const Bytes forms = expected(layout, world->size(), vocabulary, expert_TK);
    EXPECT_EQ(update, forms) << groups.mesh->shape().describe() << ", zero " << layout.mesh.zero << ", recompute "
                             << layout.recompute;
    if (world->rank() != 0) continue;
    std::printf("%s, zero %lld, recompute %s:", groups.mesh->shape().describe().c_str(),
                static_cast<long long>(layout.mesh.zero), layout.recompute);
    for (const auto& [axis, bytes] : update) std::printf(" %s %lld", axis.c_str(), static_cast<long long>(bytes));
    std::printf("\n");
    for (const auto& [axis, bytes] : forms) moving.insert(axis);
  }
  if (world->rank() != 0) return;
  std::printf("walked %zu layouts of %lld ranks over axes", layouts(world->size()).size(),
              static_cast<long long>(world->size()));
  for (const std::string& axis : moving) std::printf(" %s", axis.c_str());
  std::printf("\n");
}

}  // namespace
}  // namespace axis_bytes
