#include "launch/planning/traffic_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "parallel/mesh/axes.h"
#include "parallel/mesh/expert_map.h"

namespace launch {
namespace {

using parallel::Axis;

constexpr int64_t kNumber = 8;  // [bytes] counts, sums and indices travel as such

/// Backward ends at the first parameter that is trained, in the order of computation: before it no layer has a
/// gradient, and none of their exchanges goes back. Of several stacks as if they were one behind the other.
class GradientFlow {
 public:
  GradientFlow(const ParameterTable& parameters, const Workload& work);

  enum class Part { kAttention, kCross, kFeedForward };
  /// Whether gradients come to a part's result, and go on to what it reads.
  struct Reach {
    bool input = true, result = true;
  };
  Reach of(const PlannedBlock& block, Part part) const;
  /// Of a whole block.
  Reach of(const PlannedBlock& block) const;
  /// To the embedding.
  bool all() const { return block_ < 0; }
  /// To what the head reads.
  bool to_head() const { return to_head_; }

 private:
  // Of the first trained parameter:
  int64_t block_ = -1;  // its number; -1: it stands before all blocks
  Part part_ = Part::kAttention;
  bool norm_ = false;  // it is of the norm in front of the part
  bool to_head_ = true;
};

GradientFlow::GradientFlow(const ParameterTable& parameters, const Workload& work) {
  if (parameters.own.empty()) return;
  const std::string& first = parameters.own.front().name;
  for (const PlannedBlock& block : work.blocks) {
    if (!first.starts_with(block.parameters)) continue;
    const std::string rest = first.substr(block.parameters.size());
    const bool attention = rest.starts_with("attention"), cross = rest.starts_with("cross");
    block_ = block.number;
    part_ = attention ? Part::kAttention : cross ? Part::kCross : Part::kFeedForward;
    norm_ = rest.starts_with("attention_norm") || rest.starts_with("cross_norm") || rest.starts_with("ffn_norm");
    return;
  }
  to_head_ = !first.starts_with("head.");
  if (!to_head_ || first.starts_with("final_norm.")) block_ = std::numeric_limits<int64_t>::max();
}

GradientFlow::Reach GradientFlow::of(const PlannedBlock& block, Part part) const {
  if (block.number != block_) return {block.number > block_, block.number > block_};
  if (part != part_) return {part > part_, part > part_};
  return {norm_, true};
}

GradientFlow::Reach GradientFlow::of(const PlannedBlock& block) const {
  const bool reached = block.number >= block_;
  return {reached && of(block, Part::kAttention).input, reached};
}

/// The forms, with the letters of parallel/README.md.
class TrafficForms {
 public:
  TrafficForms(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
               const TrafficOptions& options)
      : recipe_(recipe), parameters_(parameters), work_(work), options_(options), flow_(parameters, work) {}

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
  GradientFlow::Reach reach_of(const PlannedBlock& block, const PlannedExperts& layer) const {
    const bool attention = layer.moe.slot == moetrain::Slot::kAttention;
    return flow_.of(block, attention ? GradientFlow::Part::kAttention : GradientFlow::Part::kFeedForward);
  }
  /// How often rows go there and back forward: once, and again where that is recomputed.
  int64_t forwards(const PlannedBlock& block, const PlannedExperts& layer) const {
    if (recipe_.train.recompute == moetrain::Recompute::kNone) return 1;
    const bool block_again = recipe_.train.recompute == moetrain::Recompute::kBlock;
    return (block_again ? flow_.of(block) : reach_of(block, layer)).result ? 2 : 1;
  }
  /// The same, and where a gradient comes backward.
  int64_t ways(const PlannedBlock& block, const PlannedExperts& layer) const {
    return forwards(block, layer) + (reach_of(block, layer).result ? 1 : 0);
  }
  bool drops(const moetrain::MoeConfig& moe) const { return recipe_.registry->capacities.at(moe.capacity).bounds(); }
  bool drops() const {
    return std::ranges::any_of(work_.blocks, [&](const PlannedBlock& block) {
      return std::ranges::any_of(block.layers(), [&](const PlannedExperts* layer) { return drops(layer->moe); });
    });
  }

  std::string expert_expects() const {
    const std::string even = options_.crossing < 0 ? "choices spread evenly over experts" : "";
    if (recipe_.mesh.dispatch == parallel::Dispatch::kFlat) return even;
    return even + (even.empty() ? "" : ", ") + "rows went flat (by host they are fewer between hosts)";
  }

  /// action(block, layer) for each layer of experts.
  template <class Action>
  void for_each_layer(const Action& action) const {
    for (const PlannedBlock& block : work_.blocks) {
      for (const PlannedExperts* layer : block.layers()) action(block, *layer);
    }
  }

  /// What the `world` form leaves out, by name.
  std::string unmodelled() const {
    std::string odd;
    for_each_layer([&](const PlannedBlock&, const PlannedExperts& layer) {
      const std::string& router = layer.moe.router;
      if (!odd.empty()) return;
      if (router == "soft" || router == "sinkhorn" || router == "expert_choice") {
        odd = "what router \"" + router + "\" exchanges besides is not counted";
      }
      const parallel::Enum<moetrain::Drop> drop = layer.moe.own<moetrain::BoundConfig>().drop;
      if (odd.empty() && drops(layer.moe) && drop != moetrain::Drop::kPosition)
        odd = parallel::concat("what bound.drop = \"", drop, "\" exchanges is not counted");
    });
    if (odd.empty() && recipe_.objective_preset().check_pupil != nullptr) {
      odd = "what objective.kind = \"" + recipe_.objective.kind + "\" exchanges is not counted";
    }
    return odd;
  }

  int64_t control() const {
    std::set<std::string> of_layers;  // each is summed over layers
    for_each_layer([&](const PlannedBlock&, const PlannedExperts& layer) {
      for (const moetrain::ChosenLoss& chosen : chosen_losses(layer.moe, recipe_.registry->losses)) {
        of_layers.insert(chosen.name);
      }
    });
    const int64_t losses = work_.objective.losses + std::ssize(of_layers);
    return kNumber * ranks() * (options_.control_numbers + losses + 2 * work_.expert_layers());
  }

  int64_t world() const {
    int64_t numbers = 0;
    for_each_layer([&](const PlannedBlock& block, const PlannedExperts& layer) {
      numbers += kNumber * layer.moe.top_k * layer.kinds.total();
      const moetrain::LossSizes sizes{.sequences = work_.side(block).sequences, .number = work_.wide};
      for (const moetrain::ChosenLoss& chosen : chosen_losses(layer.moe, recipe_.registry->losses)) {
        if (chosen.loss.summed_bytes != nullptr) numbers += chosen.loss.summed_bytes(layer.moe, sizes);
      }
    });
    return ranks() * (micro() * work_.passes * numbers + (zero() ? kNumber : 0));
  }

  int64_t tensor() const {
    const int64_t t = work_.mesh.tensor, width = recipe_.model.width;
    if (t == 1) return 0;
    const bool translates = work_.source.world > 0;
    // A gather hands every row in once; a sum, in at least float32, by the other ranks. One is the other's gradient.
    const int64_t gather = work_.element, sum = (t - 1) * work_.wide;
    int64_t modules = 0,
            bytes = translates ? 2 * work_.source.world * (gather + sum) : 0;  // embedding, the encoder's output
    if (work_.ends.embeds) bytes += work_.tokens.world * (sum + (flow_.all() ? gather : 0));
    for (const PlannedBlock& block : work_.blocks) {
      const auto add = [&](bool there, GradientFlow::Part part) {
        if (!there) return;
        const GradientFlow::Reach reach = flow_.of(block, part);
        const bool again = recipe_.train.recompute == moetrain::Recompute::kBlock && flow_.of(block).result;
        bytes += work_.side(block).world *
                 ((again ? 2 : 1) * (gather + sum) + (reach.input ? sum : 0) + (reach.result ? gather : 0));
      };
      add(block.attention && !block.modules, GradientFlow::Part::kAttention);
      if (block.modules) modules += modules_exchange(block, gather, sum);
      add(block.cross, GradientFlow::Part::kCross);
      add(!block.experts || block.experts->moe.rows == moetrain::Rows::kSequences, GradientFlow::Part::kFeedForward);
    }
    if (work_.ends.gathers) bytes += work_.tokens.world * (gather + (flow_.to_head() ? sum : 0));
    const int64_t layers = work_.passes * (bytes * width + modules);
    const int64_t head = head_numbers() * t * work_.tokens.world * work_.wide;
    return micro() * (layers + head) + norm(parallel::Replicas::kData) + matrices(parallel::Replicas::kData);
  }

  /// A gather of the tokens for keys and values, one of the queries of all their choices, and a sum of what those saw,
  /// each way of each row so many bytes.
  int64_t modules_exchange(const PlannedBlock& block, int64_t gather, int64_t sum) const {
    const GradientFlow::Reach reach = flow_.of(block, GradientFlow::Part::kAttention);
    const auto trained = [&](const char* name) {
      return std::ranges::any_of(parameters_.own, [&](const ParameterShare& share) {
        return share.name.starts_with(block.parameters + "attention." + name);
      });
    };
    const bool queries = reach.input || trained("experts.query");
    const bool seen = queries || trained("key") || trained("value");
    const int64_t choices = block.modules->moe.top_k * block.modules->out_width, width = recipe_.model.width;
    const bool again = recipe_.train.recompute != moetrain::Recompute::kNone && reach.result;
    return work_.side(block).world *
           ((again ? 2 : 1) * (gather * width + (gather + sum) * choices) + (reach.input ? sum * width : 0) +
            ((queries ? sum : 0) + (seen ? gather : 0)) * choices);
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
    for_each_layer([&](const PlannedBlock& block, const PlannedExperts& layer) {
      const int64_t rows = work_.routed(block, layer).world;
      const double choices = static_cast<double>(rows * layer.moe.top_k * micro() * work_.passes);
      // As many of all tokens are on each rank of the axis, so as large a part of a rank's rows crosses as it has not.
      const double crossing = choices * choice_share(layer) * (1 - 1 / static_cast<double>(work_.mesh.expert));
      expected += crossing;
      elements += static_cast<double>(ways(block, layer)) * crossing * static_cast<double>(layer.widths_of_calls());
    });
    // Those that did cross are taken to be of each layer the part that was expected of it.
    if (options_.crossing >= 0 && expected > 0) elements *= static_cast<double>(options_.crossing) / expected;
    return std::llround(static_cast<double>(2 * work_.element) * elements) + norm(parallel::Replicas::kExpertParts);
  }

  int64_t expert_tensor() const {
    const int64_t y = work_.mesh.expert_tensor;
    if (y == 1) return 0;
    double elements = 0;
    for_each_layer([&](const PlannedBlock& block, const PlannedExperts& layer) {
      const int64_t rows = work_.routed(block, layer).world * layer.moe.top_k;
      elements += static_cast<double>(ways(block, layer) * rows * layer.widths_of_calls()) * choice_share(layer);
    });
    const double times = static_cast<double>(micro() * work_.passes);
    return std::llround(times * elements * static_cast<double>(work_.element + (y - 1) * work_.wide)) +
           matrices(parallel::Replicas::kExpertData);
  }

  /// The sum of squares of what is held so, for the gradient's norm.
  int64_t norm(parallel::Replicas replicas) const {
    const bool any = std::ranges::count(parameters_.own, replicas, &ParameterShare::replicas) > 0;
    return any && !zero() ? kNumber * ranks() : 0;
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
    int64_t numbers = 0;
    for_each_layer([&](const PlannedBlock& block, const PlannedExperts& layer) {
      const int64_t times = forwards(block, layer) * layer.calls;
      numbers += times * micro() * work_.passes * moetrain::weight_sets(layer.moe);
    });
    return kNumber * ranks() * numbers + norm(parallel::Replicas::kExpertData);
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
  GradientFlow flow_;
};

}  // namespace

std::map<std::string, AxisTraffic> traffic_of(const Recipe& recipe, const ParameterTable& parameters,
                                              const Workload& work, const TrafficOptions& options) {
  return TrafficForms(recipe, parameters, work, options).all();
}

}  // namespace launch
