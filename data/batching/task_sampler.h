// defines: TaskSampler: which part of the text stands at a position of a run
#pragma once
#include <optional>
#include <vector>

#include "data/batching/mixture_sampler.h"

namespace data {

/// Draws parts by weight or in turn, each draw so many sequences. Has no state: what stands at a position, counted in
/// sequences over the whole run, is a function of (seed, position), found without walking there.
class TaskSampler {
 public:
  /// By weight, as MixtureSampler. @pre weights above 0, sequences at least 1
  TaskSampler(const std::vector<double>& weights, int64_t sequences);
  /// In turn, beginning with the first part. @pre parts and sequences at least 1
  TaskSampler(int64_t parts, int64_t sequences);

  /// source: the part; index: how many of its sequences come before this one, each index once.
  MixtureSampler::Draw draw_at(uint64_t seed, int64_t position) const;
  /// [parts], sequences of each among the first `positions`.
  std::vector<int64_t> draws_before(uint64_t seed, int64_t positions) const;

 private:
  MixtureSampler::Draw whole_draw(uint64_t seed, int64_t draw) const;

  int64_t parts_, sequences_;
  std::optional<MixtureSampler> weighed_;  // nothing: in turn
};

}  // namespace data
