#include "data/batching/mixture_sampler.h"

#include <algorithm>
#include <cmath>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

constexpr double kWhole = 4294967296.0;  // 2^32

/// floor(turns * part / 2^32), in whole numbers: the same on every machine.
int64_t taken_of(int64_t turns, uint64_t part) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(turns) * part) >> 32);
}

}  // namespace

MixtureSampler::MixtureSampler(const std::vector<double>& weights) {
  double later = 0;
  for (auto weight = weights.rbegin(); weight != weights.rend(); ++weight) {
    parallel::check_internal(*weight > 0 && std::isfinite(*weight), "weight ", *weight);
    later += *weight;
    part_.push_back(std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(kWhole * (*weight / later)))));
  }
  std::ranges::reverse(part_);
  parallel::check_internal(!part_.empty(), "a mixture of no source");
}

/// Each source takes its part of the turns that those before it leave: floor() of a growing product grows by 0 or 1 a
/// turn, so that exactly one source takes a turn, and how many it has taken before is known at once.
MixtureSampler::Draw MixtureSampler::in_turn(int64_t turn) const {
  int64_t left = turn;
  for (size_t s = 0; s + 1 < part_.size(); ++s) {
    const int64_t taken = taken_of(left, part_[s]);
    if (taken_of(left + 1, part_[s]) > taken) return {static_cast<int64_t>(s), taken};
    left -= taken;
  }
  return {static_cast<int64_t>(part_.size()) - 1, left};
}

MixtureSampler::Draw MixtureSampler::draw_at(uint64_t seed, int64_t position) const {
  if (part_.size() == 1) return {0, position};
  const int64_t block = position / kBlock;
  const parallel::RandomStream order(seed, "mixture order", 0, block);
  return in_turn(block * kBlock + parallel::permuted_index(order, position % kBlock, kBlock));
}

std::vector<int64_t> MixtureSampler::draws_before(uint64_t seed, int64_t positions) const {
  std::vector<int64_t> draws;
  const int64_t whole = positions / kBlock * kBlock;
  int64_t left = whole;
  for (size_t s = 0; s + 1 < part_.size(); ++s) {
    draws.push_back(taken_of(left, part_[s]));
    left -= draws.back();
  }
  draws.push_back(left);
  for (int64_t position = whole; position < positions; ++position) {
    ++draws[static_cast<size_t>(draw_at(seed, position).source)];
  }
  return draws;
}

}  // namespace data
