// defines: StartFact, facts_of, describe_differences, require_same, read_same_recipe: ranks that were started
// differently
#pragma once
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"
#include "parallel/comm/communicator.h"

namespace launch {

/// Something that must be the same on every rank, and this rank's value.
struct StartFact {
  std::string name, value;
};

/// Every key of the resolved recipe.
std::vector<StartFact> facts_of(const Recipe& recipe);

/// "moe.experts: ranks 0-2 have 8, rank 3 has 16; ..." Empty where all agree; several facts are cut short.
/// of_ranks[r]: rank r's facts; the names are the same on every rank.
std::string describe_differences(const std::vector<std::vector<StartFact>>& of_ranks);

/// UserError where the ranks' facts differ, thrown by the first rank; the others throw ReportedElsewhere. Their hashes
/// are compared first, so that the facts travel only where they differ. Collective over `group` (CPU tensors).
void require_same(parallel::Communicator& group, const std::vector<StartFact>& facts);

/// The recipe of a command on all ranks: read, held against the rules and the ranks there are (UserError), and then the
/// same everywhere, as are the `others`. Collective over `world`.
Recipe read_same_recipe(const std::string& path, const std::vector<std::string>& overrides,
                        std::shared_ptr<const Registry> registry, parallel::Communicator& world,
                        const std::vector<StartFact>& others = {});

}  // namespace launch
