// defines: losses_apart, Walk, base_recipe, foldings, all_walks, on_and_off, covering: the layouts
// that figures walk
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"

/// Shapes that 2, 3, 4, 6 and 8 divide; a shared expert, top-2, two micro-batches.
inline launch::Recipe base_recipe(const std::string& corpus) {
  launch::Recipe recipe = tiny_recipe(corpus);
  recipe.model.width = 48;
  recipe.model.heads = recipe.model.kv_heads = 24;
  recipe.model.ffn_hidden = 48;
  recipe.moe.layers = "odd";  // a dense block too
  recipe.moe.experts = 24;
  recipe.moe.hidden = 24;
  recipe.moe.shared_hidden = 20;
  recipe.train.micro_batches = 2;
  recipe.train.global_batch = 12;
  return recipe;
}

/// The largest relative difference of a loss term.
inline double losses_apart(const UpdateTrace& trace, const UpdateTrace& reference) {
  double worst = 0;
  for (size_t i = 0; i < reference.reports.size(); ++i) {
    for (size_t l = 0; l < reference.reports[i].losses.size(); ++l) {
      worst = std::max(worst,
                       relative_difference(trace.reports[i].losses[l].second, reference.reports[i].losses[l].second));
    }
  }
  return worst;
}

struct Walk {
  std::string name;
  launch::Recipe recipe;
  parallel::MeshConfig mesh;
};

inline std::vector<parallel::MeshConfig> foldings(int64_t ranks) {
  std::vector<parallel::MeshConfig> all;
  for (int64_t tensor = 1; tensor <= ranks; ++tensor) {
    for (int64_t expert = 1; expert <= ranks; ++expert) {
      for (int64_t expert_tensor = 1; expert * expert_tensor <= ranks; ++expert_tensor) {
        if (ranks % tensor == 0 && ranks % (expert * expert_tensor) == 0) {
          all.push_back({.tensor = tensor, .expert = expert, .expert_tensor = expert_tensor});
        }
      }
    }
  }
  return all;
}

inline std::vector<Walk> all_walks(const launch::Recipe& base, int64_t ranks) {
  std::vector<Walk> walks;
  for (const bool bounded : {false, true}) {
    launch::Recipe recipe = base;
    if (bounded) bound_experts(recipe.moe, 1.0, "probability");
    for (const parallel::MeshConfig& folding : foldings(ranks)) {
      for (const int64_t zero : {0, 1, 2}) {
        for (const char* recompute : {"none", "moe", "block"}) {
          parallel::MeshConfig mesh = folding;
          mesh.zero = zero;
          recipe.train.recompute = recompute;
          walks.push_back({bounded ? "capacity" : "dropless", recipe, mesh});
        }
      }
      if (folding.expert == 1) continue;
      parallel::MeshConfig mesh = folding;
      mesh.zero = static_cast<int64_t>(walks.size()) % 3;
      mesh.dispatch = "hierarchical";
      recipe.train.recompute = "none";
      walks.push_back({bounded ? "capacity" : "dropless", recipe, mesh});
    }
  }
  return walks;
}

/// Without one of the two ways to recompute: what is dropless recomputes blocks, what has a capacity experts.
inline std::vector<Walk> on_and_off(std::vector<Walk> walks) {
  std::erase_if(walks, [](const Walk& walk) {
    return walk.recipe.train.recompute ==
           (walk.name == "capacity" ? moetrain::Recompute::kBlock : moetrain::Recompute::kMoe);
  });
  return walks;
}

/// A few of `walks` such that each pair of values of two features occurs in one of them, chosen greedily.
inline std::vector<Walk> covering(const std::vector<Walk>& walks) {
  using Pair = std::tuple<size_t, int64_t, size_t, int64_t>;
  const auto pairs_of = [](const Walk& walk) {
    const std::array values{walk.mesh.tensor,
                            walk.mesh.expert,
                            walk.mesh.expert_tensor,
                            walk.mesh.zero,
                            int64_t{walk.name == "capacity"},
                            int64_t{walk.mesh.dispatch == parallel::Dispatch::kHierarchical},
                            static_cast<int64_t>(moetrain::Recompute(walk.recipe.train.recompute))};
    std::set<Pair> pairs;
    for (size_t a = 0; a < values.size(); ++a) {
      for (size_t b = a + 1; b < values.size(); ++b) pairs.insert({a, values[a], b, values[b]});
    }
    return pairs;
  };
  std::set<Pair> open;
  for (const Walk& walk : walks) open.merge(pairs_of(walk));
  std::vector<Walk> chosen;
  while (!open.empty()) {
    const Walk* best = nullptr;
    size_t most = 0;
    for (const Walk& walk : walks) {
      size_t fresh = 0;
      for (const Pair& pair : pairs_of(walk)) fresh += open.count(pair);
      if (fresh > most) best = &walk, most = fresh;
    }
    for (const Pair& pair : pairs_of(*best)) open.erase(pair);
    chosen.push_back(*best);
  }
  return chosen;
}
