// Layers of FSMoE's test beds as closed forms, simulations and passes see them.
// defines: layer_times, part_of, simulated, drawn_times, example_pass
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "parallel/schedule/closed_form.h"
#include "parallel/schedule/gradient_slices.h"
#include "parallel/schedule/simulate.h"
#include "parallel/schedule/test_beds.h"

/// A layer of test bed B, its backward in one task. gradients: [s]
inline parallel::LayerTimes layer_times(const parallel::FsmoeLayer& layer, parallel::Direction direction,
                                        int64_t chunks, double gradients = 0) {
  const parallel::TestBed bed = parallel::fsmoe_b();
  return {.chunk = chunk_times(fsmoe_lines(bed), fsmoe_load(bed, layer), direction, parallel::ExpertBackward::kOneTask,
                               chunks),
          .chunks = chunks,
          .gradients = gradients};
}

/// So that every exchange is a task: sizes say nothing of the times.
inline parallel::MoePart part_of(const parallel::LayerTimes& layer) {
  return {.load = {.all_to_all_bytes = 1, .all_gather_bytes = 1, .reduce_scatter_bytes = 1, .multiply_adds = 1},
          .times = layer.chunk,
          .direction = parallel::Direction::kBackward,
          .chunks = layer.chunks,
          .gradient_bytes = layer.gradients > 0 ? 1 : 0};
}

inline parallel::Timeline simulated(const parallel::LayerTimes& layer, const parallel::Lanes& lanes = {},
                                    parallel::InsideOrder inside = parallel::InsideOrder::kFixed) {
  return simulate(moe_tasks(part_of(layer), lanes, {.all_reduce = {.alpha = layer.gradients}}), inside);
}

/// Times of 0.02 to 2 ms each, all-gather and reduce-scatter equally long, 1 to 16 chunks; every third without
/// gradients.
inline parallel::LayerTimes drawn_times(std::mt19937_64& draws) {
  const auto milliseconds = [&] {
    return 1e-3 * std::exp(std::uniform_real_distribution(std::log(0.02), std::log(2.0))(draws));
  };
  parallel::LayerTimes layer;
  layer.chunk = {.all_to_all = milliseconds(), .all_gather = milliseconds(), .experts = milliseconds()};
  layer.chunk.reduce_scatter = layer.chunk.all_gather;
  layer.chunks = std::uniform_int_distribution<int64_t>(1, 16)(draws);
  layer.gradients = draws() % 3 == 0 ? 0 : 5 * milliseconds();
  return layer;
}

/// Backward of so many equal layers of test bed B by the closed form.
inline parallel::BackwardPass example_pass(const parallel::FsmoeLayer& shape, int64_t layers) {
  const parallel::TestBed bed = parallel::fsmoe_b();
  const parallel::LayerLoad load = fsmoe_load(bed, shape);
  parallel::BackwardLayer layer{.dense_seconds = load.dense_backward_seconds,
                                .gradient_bytes = load.dense_gradient_bytes};
  for (int64_t chunks = 1; chunks <= 16; ++chunks) {
    const parallel::LayerTimes times = layer_times(shape, parallel::Direction::kBackward, chunks);
    layer.options.push_back({.chunks = chunks,
                             .seconds = longest_of_four(times),
                             .link_seconds = 2 * static_cast<double>(chunks) * times.chunk.all_to_all});
  }
  return {.layers = std::vector(static_cast<size_t>(layers), layer), .cost = {.all_reduce = bed.all_reduce}};
}
