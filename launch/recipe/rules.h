// defines: check_rules
#pragma once
#include "launch/recipe/recipe.h"

namespace launch {

/// Rules across fields and sections that no field can state alone; the layout's own rules are the mesh's.
/// UserError, for the first rule broken: the keys, their values and the nearest legal ones.
void check_rules(const Recipe& recipe);

}  // namespace launch
