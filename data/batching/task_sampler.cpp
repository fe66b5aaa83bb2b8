#include "data/batching/task_sampler.h"

#include "parallel/base/fault.h"

namespace data {

TaskSampler::TaskSampler(const std::vector<double>& weights, int64_t sequences)
    : TaskSampler(static_cast<int64_t>(weights.size()), sequences) {
  weighed_.emplace(weights);
}

TaskSampler::TaskSampler(int64_t parts, int64_t sequences) : parts_(parts), sequences_(sequences) {
  parallel::check_internal(parts > 0 && sequences > 0, parts, " parts, draws of ", sequences, " sequences");
}

MixtureSampler::Draw TaskSampler::whole_draw(uint64_t seed, int64_t draw) const {
  return weighed_ ? weighed_->draw_at(seed, draw) : MixtureSampler::Draw{draw % parts_, draw / parts_};
}

MixtureSampler::Draw TaskSampler::draw_at(uint64_t seed, int64_t position) const {
  const MixtureSampler::Draw draw = whole_draw(seed, position / sequences_);
  return {draw.source, draw.index * sequences_ + position % sequences_};
}

std::vector<int64_t> TaskSampler::draws_before(uint64_t seed, int64_t positions) const {
  const int64_t whole = positions / sequences_, rest = positions % sequences_;
  std::vector<int64_t> draws;
  if (weighed_) {
    draws = weighed_->draws_before(seed, whole);
  } else {
    for (int64_t part = 0; part < parts_; ++part) draws.push_back((whole + parts_ - 1 - part) / parts_);
  }
  for (int64_t& count : draws) count *= sequences_;
  if (rest > 0) draws[static_cast<size_t>(whole_draw(seed, whole).source)] += rest;
  return draws;
}

}  // namespace data
