// defines: expert_products, ProductsOfExperts, measure_products, measured_rule, choose_products: run.matrix_products =
// "measured"
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "launch/planning/workload.h"
#include "launch/profiles/product_file.h"
#include "launch/ranks/groups.h"
#include "launch/recipe/recipe.h"
#include "launch/runs/run_folder.h"

namespace launch {

/// The products of some matrix of experts on one rank, where tokens choose evenly.
struct ProductsOfExperts {
  moetrain::GroupedShape shape;
  int64_t experts = 1;
};

/// All that the experts of this recipe take, each once.
std::vector<ProductsOfExperts> expert_products(const Recipe& recipe, const Workload& work);

/// Each with the seconds of all `ways`, of the slowest rank: with the rows of even choices, and with a quarter of them.
/// A few experts stand for many. Collective over `control`.
std::vector<moetrain::TimedWays> measure_products(const std::vector<ProductsOfExperts>& products,
                                                  const std::vector<moetrain::ProductWay>& ways,
                                                  parallel::Communicator& control);

/// The ways that every rank has. Collective over `control`.
std::vector<moetrain::ProductWay> ways_of_all(parallel::Communicator& control);

/// What a rule holds for: the ranks' processors, threads and libraries. Collective over `control`.
std::string product_machine(const Recipe& recipe, parallel::Communicator& control);

/// What they say: the rule for this machine, measured now, the same on every rank. Collective.
moetrain::ProductRule measured_rule(const Recipe& recipe, int64_t vocabulary, parallel::Communicator& control);

/// Where the recipe asks for it: the rule of products.json in the run folder, or one that is measured now and stored
/// there, is what this process goes by from now on; the same on every rank. What it has no entry of (another stage's
/// matrices) is measured and added. A stored one of another machine counts as none; `said` is told so, and what was
/// measured. Collective.
void choose_products(const Recipe& recipe, int64_t vocabulary, const RunFolder& folder, const Groups& groups,
                     const std::function<void(const std::string&)>& said);

}  // namespace launch
