// defines: StepBenchOptions, bench_step: whole updates
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "launch/training/setup.h"

namespace launch {

struct StepBenchOptions {
  int64_t rounds = 15;  // counted updates
  bool limit = true;    // the products alone too
};

/// The recipe's updates one after another, on its text, optimizer and all: seconds of the slowest rank, this rank's by
/// phase, page faults and memory, losses, multiply-adds of LibTorch's products and their time alone. Weights move as in
/// training; nothing is stored. Collective.
nlohmann::ordered_json bench_step(TrainingSetup& setup, const StepBenchOptions& options);

}  // namespace launch
