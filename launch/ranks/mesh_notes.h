// defines: mesh_notes: what a user should know of a layout before it runs
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"

namespace launch {

/// The table of the mesh, and warnings with their cost: axes that should lie inside a host and do not. `hosts`: by
/// rank, equal numbers share a host. `tokens`: of an update. Nothing of one rank.
std::vector<std::string> mesh_notes(const Recipe& recipe, const std::vector<int64_t>& hosts, int64_t tokens);

}  // namespace launch
