#include "launch/planning/traffic_model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "parallel/mesh/axes.h"
#include "parallel/mesh/expert_map.h"

namespace launch {
namespace {

using parallel::Axis;

constexpr int64_t kNumber = 8;  // [bytes] counts, sums and indices travel as such

/// The forms, with the letters of parallel/README.md.
class TrafficForms {
 public:
  TrafficForms(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
               const TrafficOptions& options)
      : recipe_(recipe), parameters_(parameters), work_(work), options_(options) {}

  std::map<std::string, AxisTraffic> all() const {
    std::map<std::string, AxisTraffic> axes;
    const std::string odd = unmodelled();
    if (work_.mesh.ranks() > 1) {
      axes["control"] = {control(), ""};
      const auto carried = [&](Axis axis, int64_t bytes, const std::string& expects) {
        axes[ledger_name(axis)] = {bytes, expects};
      };
      carried(Axis::kWorld, world(), odd);
      carried(Axis::kTensor, tensor(), "");
      carried(Axis::kExpert, expert(), expert_expects());
      carried(Axis::kExpertTensor, expert_tensor(), drops() ? "nothing dropped" : "");
      carried(Axis::kExperts, experts(), "");
      for (const parallel::Replicas replicas : parallel::kAllReplicas) {
        const int64_t ranks = sharers(replicas);
        axes[ledger_name(parallel::row_of(replicas).sharers, parallel::GroupUse::kGradients)] = {
            ranks > 1 ? shared(parameters_.whole(replicas), ranks) : 0, ""};
      }
      // A translator's batches are counted in tokens; how they fall is known only with them.
      AxisTraffic& tokens = axes[ledger_name(Axis::kTensor)];
      if (work_.source.world > 0 && tokens.bytes > 0) tokens.expects = "sentences of half the longest";
    }
    std::erase_if(axes, [](const auto& each) { return each.second.bytes == 0; });
    return axes;
  }

 private:
  int64_t micro() const { return work_.micro_batches; }
  int64_t ranks() const { return work_.mesh.ranks(); }
  bool zero() const { return recipe_.mesh.zero > 0; }
  /// How often rows go there and back: forward, backward, and forward again where it is recomputed.
  int64_t ways() const { return recipe_.train.recompute == moetrain::Recompute::kNone ? 2 : 3; }
  bool drops(const moetrain::MoeConfig& moe) const { return recipe_.registry->capacities.at(moe.capacity).bounds(); }
  bool drops() const {
    return std::ranges::any_of(work_.blocks,
                               [&](const PlannedBlock& block) { return block.experts && drops(block.moe); });
  }

  std::string expert_expects() const {
    const std::string even = options_.crossing < 0 ? "choices spread evenly over experts" : "";
    if (recipe_.mesh.dispatch == parallel::Dispatch::kFlat) return even;
    return even + (even.empty() ? "" : ", ") + "rows went flat (by host they are fewer between hosts)";
  }

  /// What the `world` form leaves out, by name.
  std::string unmodelled() const {
    for (const PlannedBlock& block : work_.blocks) {
      if (!block.experts) continue;
      const std::string& router = block.moe.router;
      if (router == "soft" || router == "sinkhorn" || router == "expert_choice") {
        return "what router \"" + router + "\" exchanges besides is not counted";
      }
      const parallel::Enum<moetrain::Drop> drop = block.moe.own<moetrain::BoundConfig>().drop;
      if (drops(block.moe) && drop != moetrain::Drop::kPosition)
        return parallel::concat("what bound.drop = \"", drop, "\" exchanges is not counted");
    }
    return "";
  }

  int64_t control() const {
    std::set<std::string> of_layers;  // each is summed over layers
    for (const PlannedBlock& block : work_.blocks) {
      if (!block.experts) continue;
      for (const moetrain::ChosenLoss& chosen : chosen_losses(block.moe, recipe_.registry->losses)) {
        of_layers.insert(chosen.name);
      }
    }
    const int64_t losses = work_.objective.losses + std::ssize(of_layers);
    return kNumber * ranks() * (options_.control_numbers + losses + 2 * work_.expert_layers());
  }

  int64_t world() const {
    int64_t numbers = 0;
    for (const PlannedBlock& block : work_.blocks) {
      if (!block.experts) continue;
      const int64_t experts = block.kinds.total();
      numbers += kNumber * block.moe.top_k * experts;
      const moetrain::LossSizes sizes{.sequences = work_.side(block).sequences, .number = work_.wide};
      for (const moetrain::ChosenLoss& chosen : chosen_losses(block.moe, recipe_.registry->losses)) {
        if (chosen.loss.summed_bytes != nullptr) numbers += chosen.loss.summed_bytes(block.moe, sizes);
      }
    }
    return ranks() * (micro() * work_.passes * numbers + (zero() ? kNumber : 0));
  }

  int64_t tensor() const {
    const int64_t t = work_.mesh.tensor, width = recipe_.model.width;
    if (t == 1) return 0;
    const bool translates = work_.source.world > 0;
    int64_t rows = (work_.ends.embeds ? work_.tokens.world : 0) +
                   (translates ? 2 * work_.source.world : 0);  // embeddings, the encoder's output
    for (const PlannedBlock& block : work_.blocks) {
      const bool moves_sequences = block.experts && block.moe.rows == moetrain::Rows::kSequences;
      const int64_t layers =
          (moves_sequences ? 1 : 0) + (block.attention ? 1 : 0) + (block.cross ? 1 : 0) + (block.experts ? 0 : 1);
      rows += (recipe_.train.recompute == moetrain::Recompute::kBlock ? 3 : 2) * layers * work_.side(block).world;
    }
    rows = work_.passes * (rows + (work_.ends.gathers ? work_.tokens.world : 0));  // the head
    // Each exchange is a gather, in which every row is handed in once, and, one of the two being the other's gradient,
    // a sum in at least float32, in which the other ranks hand it in.
    const int64_t layers = rows * width * (work_.element + (t - 1) * work_.wide);
    const int64_t head = head_numbers() * t * work_.tokens.world * work_.wide;
    return micro() * (layers + head) + (zero() ? 0 : kNumber * ranks()) + matrices(parallel::Replicas::kData);
  }

  /// All-reduced numbers of a token: each softmax's largest logit and normaliser, the target's logit, and what else a
  /// sum over the vocabulary is for.
  int64_t head_numbers() const {
    if (work_.ends.predicted > 0) return 0;
    const moetrain::ObjectiveCosts& costs = work_.objective;
    return costs.head_numbers + (recipe_.objective.label_smoothing > 0 ? costs.smoothing_numbers : 0);
  }

  int64_t expert() const {
    if (work_.mesh.expert == 1) return 0;
    double expected = 0, elements = 0;
    for (const PlannedBlock& block : work_.blocks) {
      if (!block.experts) continue;
      const double choices = static_cast<double>(work_.routed(block).world * block.moe.top_k * micro() * work_.passes);
      // As many of all tokens are on each rank of the axis, so as large a part of a rank's rows crosses as it has not.
      const double crossing = choices * choice_share(block) * (1 - 1 / static_cast<double>(work_.mesh.expert));
      expected += crossing;
      elements += crossing * static_cast<double>(block.expert_width);
    }
    // Those that did cross are taken to be of each layer the part that was expected of it.
    if (options_.crossing >= 0 && expected > 0) elements *= static_cast<double>(options_.crossing) / expected;
    return std::llround(static_cast<double>(2 * ways() * work_.element) * elements);
  }

  int64_t expert_tensor() const {
    const int64_t y = work_.mesh.expert_tensor;
    if (y == 1) return 0;
    double elements = 0;
    for (const PlannedBlock& block : work_.blocks) {
      if (!block.experts) continue;
      elements +=
          static_cast<double>(work_.routed(block).world * block.moe.top_k * block.expert_width) * choice_share(block);
    }
    const double times = static_cast<double>(ways() * micro() * work_.passes);
    return std::llround(times * elements * static_cast<double>(work_.element + (y - 1) * work_.wide)) +
           matrices(parallel::Replicas::kExpertData);
  }

  /// How many ranks hold the same elements.
  int64_t sharers(parallel::Replicas replicas) const {
    return parallel::row_of(parallel::row_of(replicas).sharers).ranks(work_.mesh);
  }

  /// Parts of matrices on their way to an update that wants them whole.
  int64_t matrices(parallel::Replicas replicas) const {
    if (recipe_.update_rule().granularity != optim::Granularity::kMatrix) return 0;
    int64_t whole = 0;
    for (const ParameterShare& share : parameters_.own) {
      const bool gathered = share.replicas == replicas && share.matrices && share.matrices->in_parts();
      if (gathered) whole += share.whole;
    }
    return (zero() ? 1 : sharers(replicas)) * whole * work_.wide;
  }

  int64_t experts() const {
    if (work_.mesh.expert * work_.mesh.expert_tensor == 1) return 0;
    int64_t numbers = zero() ? 0 : 1;
    for (const PlannedBlock& block : work_.blocks) {
      if (block.experts) numbers += (ways() - 1) * micro() * work_.passes * block.kinds.ffn;
    }
    return kNumber * ranks() * numbers;
  }

  /// `sharers` ranks hold each of `elements`, of the whole model.
  int64_t shared(int64_t elements, int64_t sharers) const {
    if (!zero()) return sharers * elements * work_.wide;
    const int64_t rounds = recipe_.mesh.zero == 2 ? micro() : 1;  // each micro-batch is reduced by itself
    return rounds * (sharers - 1) * elements * work_.wide + elements * work_.element;
  }

  const Recipe& recipe_;
  const ParameterTable& parameters_;
  const Workload& work_;
  const TrafficOptions& options_;
};

}  // namespace

std::map<std::string, AxisTraffic> traffic_of(const Recipe& recipe, const ParameterTable& parameters,
                                              const Workload& work, const TrafficOptions& options) {
  return TrafficForms(recipe, parameters, work, options).all();
}

}  // namespace launch
