#include "launch/ranks/same_start.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <sstream>

#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/runs/start_point.h"
#include "parallel/base/fault.h"
#include "parallel/base/rank_list.h"
#include "parallel/comm/agreement.h"
#include "parallel/mesh/mesh_shape.h"

namespace launch {
namespace {

// A value may hold any character but these: recipes hold no control characters.
constexpr char kEndOfName = '\x1f', kEndOfFact = '\x1e';

std::string to_text(const std::vector<StartFact>& facts) {
  std::string text;
  for (const StartFact& fact : facts) text += fact.name + kEndOfName + fact.value + kEndOfFact;
  return text;
}

std::vector<StartFact> from_text(const std::string& text) {
  std::vector<StartFact> facts;
  std::istringstream all(text);
  for (std::string each; std::getline(all, each, kEndOfFact);) {
    const size_t name = each.find(kEndOfName);
    facts.push_back({each.substr(0, name), each.substr(name + 1)});
  }
  return facts;
}

std::string value_of(const std::vector<StartFact>& facts, const std::string& name) {
  for (const StartFact& fact : facts) {
    if (fact.name == name) return fact.value;
  }
  return "nothing";
}

}  // namespace

std::vector<StartFact> facts_of(const Recipe& recipe) {
  std::vector<StartFact> facts;
  for (const auto& [name, value] : written_keys(recipe)) facts.push_back({name, value});
  return facts;
}

std::string describe_differences(const std::vector<std::vector<StartFact>>& of_ranks) {
  constexpr int kMost = 5;
  std::ostringstream words;
  int different = 0;
  for (const StartFact& fact : of_ranks.front()) {
    std::map<std::string, std::vector<int64_t>> ranks_with;
    std::vector<std::string> order;  // of the values, by their first rank
    for (size_t rank = 0; rank < of_ranks.size(); ++rank) {
      const std::string value = value_of(of_ranks[rank], fact.name);
      if (ranks_with[value].empty()) order.push_back(value);
      ranks_with[value].push_back(static_cast<int64_t>(rank));
    }
    if (order.size() == 1 || ++different > kMost) continue;
    words << (different > 1 ? "; " : "") << fact.name << ": ";
    for (size_t i = 0; i < order.size(); ++i) {
      const std::vector<int64_t>& ranks = ranks_with[order[i]];
      words << (i > 0 ? ", " : "") << (ranks.size() == 1 ? "rank " : "ranks ") << parallel::rank_list(ranks)
            << (ranks.size() == 1 ? " has " : " have ") << order[i];
    }
  }
  if (different > kMost) words << "; and " << different - kMost << " more";
  return words.str();
}

void require_same(parallel::Communicator& group, const std::vector<StartFact>& facts) {
  const std::string text = to_text(facts);
  const auto hash = static_cast<int64_t>(std::hash<std::string>{}(text) >> 1);  // may be negated
  at::Tensor ends = at::tensor({hash, -hash}, at::kLong);                       // the largest, and the smallest negated
  group.all_reduce(ends, parallel::ReduceOp::kMax).wait();
  const auto* end = ends.const_data_ptr<int64_t>();
  if (end[0] == -end[1]) return;
  std::vector<std::vector<StartFact>> of_ranks;
  for (const std::string& each : parallel::gather_texts(group, text)) of_ranks.push_back(from_text(each));
  parallel::all_ranks(group, [&] {
    parallel::user_error("the ranks were started differently: ", describe_differences(of_ranks),
                         "; legal: the same program, recipe and options on every rank");
  });
}

Recipe read_same_recipe(const std::string& path, const std::vector<std::string>& overrides,
                        std::shared_ptr<const Registry> registry, parallel::Communicator& world,
                        const std::vector<StartFact>& others) {
  Recipe recipe;
  parallel::all_ranks(world, [&] {
    recipe = read_recipe(path, overrides, {.registry = registry, .start = recipe_of_start(registry)});
    check_rules(recipe);
    check_training(recipe);
    parallel::mesh_shape(recipe.mesh, world.size());  // refused here, before any group is made
  });
  std::vector<StartFact> facts = facts_of(recipe);
  facts.insert(facts.end(), others.begin(), others.end());
  require_same(world, facts);
  return recipe;
}

}  // namespace launch
