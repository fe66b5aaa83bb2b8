#include "parallel/schedule/gradient_slices.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// Slices by a rule for each place. moe, dense: (layer, bytes there) -> bytes to send.
template <class Moe, class Dense>
Slices by_rule(const BackwardPass& pass, Moe moe, Dense dense) {
  Slices slices;
  int64_t there = pass.first_bytes;
  for (const BackwardLayer& layer : pass.layers) {
    slices.moe_bytes.push_back(moe(layer, there));
    there -= slices.moe_bytes.back();
    slices.dense_bytes.push_back(dense(layer, there));
    there += layer.gradient_bytes - slices.dense_bytes.back();
  }
  return slices;
}

/// The most of `there` whose sending takes no longer than `gap` seconds.
int64_t most_within(const GradientCost& cost, double gap, int64_t there) {
  if (cost.seconds(there) <= gap) return there;
  int64_t fits = 0, too_many = there;
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (cost.seconds(middle) <= gap ? fits : too_many) = middle;
  }
  return fits;
}

/// State: quanta sent so far. Gradients stay whole bytes, so that layers of any sizes are exact: a state is legal
/// where its bytes are there.
class SliceProgram {
 public:
  SliceProgram(const BackwardPass& pass, double quantum)
      : pass_(pass), quantum_(quantum), states_(quanta_in(pass.total_bytes()) + 1) {}

  Slices solve() {
    std::vector<double> best(states_, kNever);
    best[0] = 0;
    int64_t there = pass_.first_bytes;
    for (const BackwardLayer& layer : pass_.layers) {
      const size_t legal = quanta_in(there);
      const std::vector<double> sending = sending_seconds(legal);
      std::vector<double> moe(legal + 1), dense(legal + 1);
      for (size_t x = 0; x <= legal; ++x) {
        const double gradients = sending[x];
        moe[x] = layer.fastest(gradients).seconds_with(gradients);
        dense[x] = std::max(layer.dense_seconds, gradients);
      }
      best = after(best, moe);
      best = after(best, dense);
      there += layer.gradient_bytes;
    }
    size_t last = 0;
    double least = kNever;
    for (size_t k = 0; k < states_; ++k) {
      const double all = best[k] + pass_.cost.seconds(there - bytes(k));
      if (all < least) last = k, least = all;
    }
    return walk_back(last);
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  size_t quanta_in(int64_t amount) const {
    return static_cast<size_t>(std::floor(static_cast<double>(amount) / quantum_ + 1e-9));
  }
  int64_t bytes(size_t quanta) const {
    return std::min(pass_.total_bytes(), static_cast<int64_t>(std::llround(static_cast<double>(quanta) * quantum_)));
  }
  std::vector<double> sending_seconds(size_t most) const {
    std::vector<double> seconds;
    for (size_t x = 0; x <= most; ++x) seconds.push_back(pass_.cost.seconds(bytes(x)));
    return seconds;
  }

  /// The least time of each state after a place at which x more quanta take cost[x].
  std::vector<double> after(const std::vector<double>& before, const std::vector<double>& cost) {
    std::vector<double> best(states_, kNever);
    std::vector<size_t> from(states_, 0);
    for (size_t to = 0; to < cost.size(); ++to) {
      for (size_t k = to + 1; k-- > 0;) {  // of equally good choices the least sent here
        const double seconds = before[k] + cost[to - k];
        if (seconds < best[to]) best[to] = seconds, from[to] = k;
      }
    }
    from_.push_back(std::move(from));
    return best;
  }

  Slices walk_back(size_t state) const {
    std::vector<int64_t> sent;  // at each place, last first
    for (auto from = from_.rbegin(); from != from_.rend(); ++from) {
      sent.push_back(bytes(state) - bytes((*from)[state]));
      state = (*from)[state];
    }
    Slices slices;
    for (size_t place = sent.size(); place-- > 0;) {
      (place % 2 == 1 ? slices.moe_bytes : slices.dense_bytes).push_back(sent[place]);
    }
    return slices;
  }

  const BackwardPass& pass_;
  double quantum_;  // [byte]
  size_t states_;
  std::vector<std::vector<size_t>> from_;  // for each place and state the state before
};

}  // namespace

const ChunkOption& BackwardLayer::fastest(double gradients) const {
  check_internal(!options.empty(), "a layer without a number of chunks to choose from");
  const ChunkOption* best = &options.front();
  for (const ChunkOption& option : options) {
    if (option.seconds_with(gradients) < best->seconds_with(gradients) * (1 - 1e-9)) best = &option;
  }
  return *best;
}

int64_t BackwardPass::total_bytes() const {
  int64_t total = first_bytes;
  for (const BackwardLayer& layer : layers) total += layer.gradient_bytes;
  return total;
}

SlicesCost cost_of(const BackwardPass& pass, const Slices& slices) {
  check_internal(slices.moe_bytes.size() == pass.layers.size() && slices.dense_bytes.size() == pass.layers.size(),
                 "slices for ", slices.moe_bytes.size(), " layers, not ", pass.layers.size());
  SlicesCost cost{.rest_bytes = pass.first_bytes};
  for (size_t i = 0; i < pass.layers.size(); ++i) {
    const BackwardLayer& layer = pass.layers[i];
    cost.rest_bytes -= slices.moe_bytes[i] + slices.dense_bytes[i];
    check_internal(slices.moe_bytes[i] >= 0 && slices.dense_bytes[i] >= 0 && cost.rest_bytes >= 0, "slices of ",
                   slices.moe_bytes[i], " and ", slices.dense_bytes[i], " bytes: too many by ", -cost.rest_bytes);
    const double in_moe = pass.cost.seconds(slices.moe_bytes[i]);
    const ChunkOption& option = layer.fastest(in_moe);
    cost.chunks.push_back(option.chunks);
    cost.seconds +=
        option.seconds_with(in_moe) + std::max(layer.dense_seconds, pass.cost.seconds(slices.dense_bytes[i]));
    cost.rest_bytes += layer.gradient_bytes;
  }
  cost.seconds += pass.cost.seconds(cost.rest_bytes);
  return cost;
}

Slices none(const BackwardPass& pass) {
  const auto nothing = [](const BackwardLayer&, int64_t) { return int64_t{0}; };
  return by_rule(pass, nothing, nothing);
}

Slices beside_dense(const BackwardPass& pass) { return fixed_pieces(pass, 0); }

Slices in_free_gaps(const BackwardPass& pass) {
  return by_rule(
      pass,
      [&](const BackwardLayer& layer, int64_t there) {
        const ChunkOption& option = layer.fastest(0);
        return most_within(pass.cost, option.seconds - option.link_seconds, there);
      },
      [&](const BackwardLayer& layer, int64_t there) { return most_within(pass.cost, layer.dense_seconds, there); });
}

Slices fixed_pieces(const BackwardPass& pass, int64_t piece_bytes) {
  return by_rule(
      pass, [&](const BackwardLayer&, int64_t there) { return std::min(there, piece_bytes); },
      [](const BackwardLayer&, int64_t there) { return there; });
}

Slices exact(const BackwardPass& pass, int64_t quanta) {
  check_internal(quanta >= 1, "gradients in ", quanta, " quanta");
  const int64_t total = pass.total_bytes();
  if (total <= 0 || pass.layers.empty()) return none(pass);
  const auto mean = static_cast<double>(total) / static_cast<double>(pass.layers.size());
  double quantum = std::max(1.0, mean / static_cast<double>(quanta));
  if (pass.cost.slice_bytes > 0) {
    const auto slice = static_cast<double>(pass.cost.slice_bytes);
    quantum = slice * std::ceil(quantum / slice);
  }
  return SliceProgram(pass, quantum).solve();
}

Slices cheapest(const BackwardPass& pass, int64_t quanta) {
  Slices best = none(pass);
  double seconds = cost_of(pass, best).seconds;
  for (Slices& each : std::vector<Slices>{beside_dense(pass), in_free_gaps(pass), fixed_pieces(pass, kLinaPieceBytes),
                                          exact(pass, quanta)}) {
    const double its = cost_of(pass, each).seconds;
    if (its < seconds * (1 - 1e-9)) best = std::move(each), seconds = its;
  }
  return best;
}

}  // namespace parallel
