// defines: Load, ChoiceShape, forced_choices, rows_under, is_burst: routings that a bench puts in the place of a
// router's own
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "moetrain/routers/routing.h"
#include "parallel/base/enum.h"

namespace launch {

/// Of Load::kBurst.
constexpr int64_t kBurstEvery = 4;
constexpr bool is_burst(int64_t round) { return round % kBurstEvery == kBurstEvery - 1; }

/// How T tokens of K choices fall on E experts, T K rows in all of them. kOwn: as the router chooses.
/// kEven (W0); kHot (W1): one expert has half of all rows, or every token where those are fewer; kZipf (W2): the e-th
/// has a share of 1 / e; kHotRank (W3): the first rank's experts (of one rank the first half) have three quarters;
/// kHalfEmpty (W4): half of them have none; kRotating (W5): kHot, another expert each time; kBurst (W6): kEven, and
/// kHot every fourth time.
enum class Load { kOwn, kEven, kHot, kZipf, kHotRank, kHalfEmpty, kRotating, kBurst };
constexpr std::array<const char*, 8> names_of(Load) { return {"own", "W0", "W1", "W2", "W3", "W4", "W5", "W6"}; }

/// Who chooses among whom.
struct ChoiceShape {
  int64_t tokens = 0;                         // of all ranks
  int64_t first_token = 0, own_tokens = 0;    // of this one
  int64_t top_k = 1, experts = 1, total = 1;  // that are dispatched, and those of all kinds
  int64_t of_first_rank = 1;                  // experts
};

/// Choices that a router takes as they are (RoutingContext::injected), the gates its own; K different experts for each
/// token. `round`: how often before. nullopt: the router's own. UserError where there are fewer experts than that load
/// and top_k ask for.
std::optional<moetrain::RoutingChoices> forced_choices(parallel::Enum<Load> load, const ChoiceShape& shape,
                                                       int64_t round);

/// Rows of each dispatched expert under it, over all ranks; a function of its own so that it can be tested.
std::vector<int64_t> rows_under(parallel::Enum<Load> load, const ChoiceShape& shape, int64_t round);

}  // namespace launch
