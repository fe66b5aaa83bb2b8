// defines: check_rules, check_training, check_lengths
#pragma once
#include "launch/recipe/recipe.h"

namespace launch {

/// Rules across fields and sections that no field can state alone; the layout's own rules are the mesh's.
/// UserError, for the first rule broken: the keys, their values and the nearest legal ones.
void check_rules(const Recipe& recipe);

/// What only training needs, and a run of an imported model has not yet: text, a router that can learn. UserError as
/// above.
void check_training(const Recipe& recipe);

/// The rules of a schedule's lengths where their units differ, which only the token file's `scale` makes comparable.
/// UserError as above.
void check_lengths(const Recipe& recipe, const parallel::SpanScale& scale);

}  // namespace launch
