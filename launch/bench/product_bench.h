// defines: bench_products: the products of a recipe's experts, by everybody who is at hand
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "launch/ranks/groups.h"
#include "launch/recipe/recipe.h"

namespace launch {

/// One object for each product of expert matrices and number of rows (measure_products): seconds and multiply-adds a
/// second of each way, and which one run.matrix_products = "measured" would take. UserError for what does not fit into
/// memory. Collective.
std::vector<nlohmann::ordered_json> bench_products(const Recipe& recipe, const Groups& groups);

}  // namespace launch
