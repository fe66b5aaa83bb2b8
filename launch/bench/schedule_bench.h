// Schedules against each other in one process, update by update in turn, so that a busy moment meets all of them.
// defines: BenchOptions, BenchRow, BenchResult, bench, to_text, bench_to_json
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/bench/rounds.h"
#include "launch/profiles/profile.h"
#include "launch/training/setup.h"

namespace launch {

struct BenchOptions {
  std::vector<std::string> schedules;  // the first is what the others are held against; "fixed:4": 4 chunks each way
  int64_t rounds = 15;                 // counted updates of each schedule
};

/// One schedule. Seconds are of forward, backward and sums, the slowest rank's.
struct BenchRow {
  std::string schedule;
  parallel::Plan plan;
  std::vector<double> rounds;  // [s] of each
  Middle seconds;
  Middle speed_up;  // of pairs: the first schedule's seconds over this one's in the same round
  double predicted = 0;
  double exposed = 0, hidden = 0;  // shares of the step in which a link was busy while compute stood still, or worked
};

struct BenchResult {
  Profile profile;
  std::vector<BenchRow> rows;
  double engine_share = 0;  // processor share of the thread that carries MPI
};

/// UserError for a name that is none.
void check_schedule_name(const std::string& name);

/// Rehearses the recipe's first update under each schedule in turn; weights stay as they are. Collective.
BenchResult bench(TrainingSetup& setup, const BenchOptions& options);

std::string to_text(const BenchResult& result);
nlohmann::ordered_json bench_to_json(const BenchResult& result);

}  // namespace launch
