// defines: Lane: how operations that share a link take turns
#pragma once
#include <cstdint>

namespace parallel {

/// What an operation occupies while it is under way.
enum class Link { kNone, kInsideHost, kBetweenHosts };

/// The turn of an operation on its link. Operations of one link that do not yield start in the order of posting, which
/// must be the same on every rank, and only one starts before the one ahead of it is done: the link is a serial
/// resource, as the planner has it, and the wire does not rest between two chunks. One that yields starts once those
/// posted before it are done and holds up nothing: a rank where it comes early and one where it comes late cannot wait
/// for each other.
struct Lane {
  Link link = Link::kNone;  // kNone: starts at once
  bool yields = false;
  static constexpr int64_t kAsItIs = -1;
  int64_t multiprocessors = 0;  // of a GPU, at most so many; 0: as many as it likes; kAsItIs: the bound that is there
};

}  // namespace parallel
