// defines: LayerBenchOptions, bench_layer: one layer of experts, forward and backward
#pragma once
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/bench/loads.h"
#include "launch/ranks/groups.h"
#include "launch/recipe/recipe.h"

namespace launch {

struct LayerBenchOptions {
  std::vector<parallel::Enum<Load>> loads{Load::kOwn};  // the first is what the others are held against
  int64_t rounds = 15;                                  // counted, of each load; they take turns
  bool limit = true;                                    // the products alone too
  std::filesystem::path tensors = {};                   // written as safetensors, of the first load; empty: not
};

/// The recipe's first layer of feed-forward experts on a micro-batch of train.global_batch x data.sequence_length /
/// train.micro_batches tokens that are drawn, without the router's losses: forward, and backward of a drawn gradient to
/// tokens and weights, on the processor to where training gathers it (of 16 bits in float32). One object for each load:
/// seconds of the slowest rank, their split and page faults of the first, multiply-adds, the products alone, and the
/// share of them in it. Nothing of it needs text.
///
/// UserError, before anything is allocated: what does not fit into memory, whole sequences, layers that are spread over
/// tensor ranks, a load that top_k does not allow. Collective.
std::vector<nlohmann::ordered_json> bench_layer(const Recipe& recipe, const Groups& groups, at::Device device,
                                                const LayerBenchOptions& options);

}  // namespace launch
