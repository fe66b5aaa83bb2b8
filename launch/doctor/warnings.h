// defines: Warning, find_warnings: the usual traps, and the way out of each
#pragma once
#include <string>
#include <vector>

#include "launch/doctor/facts.h"

namespace launch {

struct Warning {
  enum class Level { kSlow, kFatal };  // kFatal: training cannot work
  std::string code;                    // one word for scripts: "oversubscribed_ranks"
  Level level = Level::kSlow;
  std::string what;  // with the numbers
  std::string remedy;
};

/// A function of the facts alone. Hosts with the same trap share one warning. What the links show (slow_network) is
/// said only where they were measured.
std::vector<Warning> find_warnings(const JobFacts& job);

}  // namespace launch
