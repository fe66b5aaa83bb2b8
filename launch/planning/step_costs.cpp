#include <algorithm>
#include <cmath>
#include <utility>

#include "launch/planning/step_prediction.h"

namespace launch {
namespace {

/// Seconds of what the rank with most does, layer by layer.
class StepCounter {
 public:
  StepCounter(const Recipe& recipe, const ParameterTable& parameters, const Workload& work, const Machine& machine,
              const Cluster& cluster, double imbalance)
      : recipe_(recipe),
        parameters_(parameters),
        work_(work),
        machine_(machine),
        axes_(host_axes(work.mesh, cluster)),
        imbalance_(imbalance),
        multiply_(machine.multiply(recipe.run.precision)),
        width_(static_cast<double>(recipe.model.width)) {}

  StepCosts count() {
    costs_.micro_batches = work_.micro_batches;
    costs_.sums_each = recipe_.mesh.zero == 2;
    set_lines();
    costs_.model.contention = {.compute = machine_.compute_contention, .link = machine_.link_contention};
    open_ = {};
    if (work_.source.world > 0) add_embedding(work_.source);
    if (work_.pre_gate) add_pre_gate();
    bool decodes = false;
    for (const PlannedBlock& block : work_.blocks) {
      if (block.side == moetrain::Side::kTokens && !std::exchange(decodes, true)) add_embedding(work_.tokens);
      add_block(block);
    }
    add_head();
    add_update();
    costs_.assumptions.push_back(imbalance_ > 1 ? "the busiest rank's experts have as many rows as --imbalance says"
                                                : "choices spread evenly over experts");
    if (recipe_.train.recompute != moetrain::Recompute::kNone) {
      costs_.assumptions.push_back("what is made again in backward stands there as computation, its exchanges too");
    }
    if (recipe_.mesh.dispatch != parallel::Dispatch::kFlat)
      costs_.assumptions.push_back("rows go flat, as mesh.dispatch = \"flat\" has it");
    if (!machine_.sweep.given()) {
      costs_.assumptions.push_back(
          "the machine gives no machine.sweep: only matrix multiplications and exchanges take time");
    }
    return std::move(costs_);
  }

 private:
  struct Dense {
    double forward = 0, backward = 0;
    int64_t gradient_bytes = 0;
  };

  const LinkLines& link(bool crosses) const { return crosses ? machine_.between : machine_.inside; }
  parallel::Line line(bool crosses, MachineLine LinkLines::*which, const std::string& name,
                      const std::string& use) const {
    return line_of(machine_, link(crosses).*which, std::string(crosses ? "between." : "inside.") + name, use);
  }

  /// The lines of experts and gradients.
  void set_lines() {
    parallel::CostLines& lines = costs_.model.lines;
    const auto& mesh = work_.mesh;
    const bool experts = work_.expert_layers() > 0;
    const bool far_rows = crosses_hosts(axes_, parallel::Axis::kExpert),
               far_parts = crosses_hosts(axes_, parallel::Axis::kExpertTensor);
    const bool far_gradients = crosses_hosts(axes_, parallel::Axis::kWorld, parallel::GroupUse::kGradients);
    if (experts && mesh.expert > 1) {
      lines.all_to_all = line(far_rows, &LinkLines::all_to_all, "all_to_all", "mesh.expert");
    }
    if (experts && mesh.expert_tensor > 1) {
      lines.all_gather = line(far_parts, &LinkLines::all_gather, "all_gather", "mesh.expert_tensor");
      lines.reduce_scatter = line(far_parts, &LinkLines::reduce_scatter, "reduce_scatter", "mesh.expert_tensor");
    }
    if (mesh.ranks() > 1) {
      lines.all_reduce = recipe_.mesh.zero > 0
                             ? line(far_gradients, &LinkLines::reduce_scatter, "reduce_scatter", "mesh.zero")
                             : line(far_gradients, &LinkLines::all_reduce, "all_reduce", "the sum of gradients");
    }
    lines.expert_forward = lines.expert_input_gradient = lines.expert_weight_gradient = multiply_;
    costs_.between = far_rows || far_gradients;
    costs_.one_link = mesh.expert_tensor > 1 && far_parts == costs_.between;
  }

  double swept(double elements) const {
    return machine_.sweep.given()
               ? machine_.sweep.alpha + machine_.sweep.beta * elements * static_cast<double>(work_.element)
               : 0;
  }

  /// Forward and twice as much backward, each as `matrices` multiplications.
  void add_multiplications(int64_t matrices, double multiply_adds) {
    const double once = static_cast<double>(matrices) * multiply_.alpha + multiply_.beta * multiply_adds;
    open_.forward += once;
    open_.backward += 2 * once;
  }
  void add_sweeps(double elements_read_or_written) {
    open_.forward += swept(elements_read_or_written);
    open_.backward += 2 * swept(elements_read_or_written);
  }

  /// Every rank of a tensor group computes it for all the group's tokens.
  void add_pre_gate() {
    const auto& [config, experts] = *work_.pre_gate;
    const int64_t W = config.width, of_block = 4 * W * W + 3 * W * config.hidden + work_.tokens.length * W;
    const auto of_token = static_cast<double>(config.layers * of_block + W * experts);
    add_multiplications(config.layers * 9 + 1, static_cast<double>(work_.tokens.group) * of_token);
  }

  /// A gather and a sum of the tensor group's tokens, each other's gradient: one of the two each way.
  void add_tensor_exchanges(int64_t pairs, const TokenCount& tokens) {
    if (work_.mesh.tensor == 1) return;
    const bool far = crosses_hosts(axes_, parallel::Axis::kTensor);
    const double rows = static_cast<double>(tokens.group) * width_;
    const double gather = line(far, &LinkLines::all_gather, "all_gather", "mesh.tensor")
                              .seconds(rows * static_cast<double>(work_.element));
    const double sum = line(far, &LinkLines::reduce_scatter, "reduce_scatter", "mesh.tensor")
                           .seconds(rows * static_cast<double>(work_.wide));
    const double seconds = static_cast<double>(pairs) * (gather + sum) / 2;
    open_.forward += seconds;
    open_.backward += seconds;
    (far ? costs_.exchanges_between : costs_.exchanges_inside) += 2 * seconds;
  }

  static bool of_experts(const ParameterShare& share) {
    return share.replicas == parallel::Replicas::kExpertData || share.replicas == parallel::Replicas::kExpertParts;
  }

  void add_gradients(const std::string& prefix, bool except_experts) {
    for (const ParameterShare& share : parameters_.own) {
      if (!share.name.starts_with(prefix) || share.sharers == 1) continue;
      if (except_experts && of_experts(share)) continue;
      open_.gradient_bytes += share.elements * work_.wide;
    }
  }

  void add_embedding(const TokenCount& tokens) {
    add_sweeps(2 * static_cast<double>(tokens.own) * width_);
    if (work_.ends.embeds) add_tensor_exchanges(1, tokens);
  }

  void add_attention(const TokenCount& tokens, const TokenCount& keys_from, bool causal) {
    const double t = static_cast<double>(work_.mesh.tensor), rows = static_cast<double>(tokens.group);
    const moetrain::ModelConfig& model = recipe_.model;
    const double query = static_cast<double>(model.heads * model.head_width());
    const double kv = static_cast<double>(model.kv_heads * model.head_width());
    const double keys = static_cast<double>(keys_from.group) * 2 * width_ * kv / t;
    const double seen = static_cast<double>(keys_from.length) / (causal ? 2 : 1);
    add_multiplications(6, rows * 2 * width_ * query / t + keys + rows * 2 * seen * query / t);
    add_sweeps(rows * width_ * (6 + 12 / t));  // norm, rotary positions, the sum
    add_tensor_exchanges(2, tokens);
  }

  void add_block(const PlannedBlock& block) {
    const TokenCount& tokens = work_.side(block);
    const double own = static_cast<double>(tokens.own), rows = static_cast<double>(tokens.group);
    const double matrices = static_cast<double>(work_.feed_forward.matrices);
    if (block.modules) {
      add_modules(block, *block.modules, tokens);
    } else if (block.attention) {
      add_attention(tokens, tokens, block.causal);
    }
    if (block.cross) add_attention(tokens, work_.source, /*causal=*/false);
    const std::string& name = block.parameters;
    if (!block.of_stack.empty()) add_gradients(block.of_stack, /*except_experts=*/false);
    if (!block.experts) {
      const double hidden = static_cast<double>(recipe_.model.ffn_hidden) / static_cast<double>(work_.mesh.tensor);
      add_multiplications(static_cast<int64_t>(matrices), matrices * rows * width_ * hidden);
      add_sweeps(own * width_ * 6 + rows * hidden * 2 * (matrices - 1));
      add_tensor_exchanges(2, tokens);
      add_gradients(name, /*except_experts=*/block.modules.has_value());
      return;
    }
    const moetrain::MoeConfig& moe = block.experts->moe;
    add_multiplications(1, own * width_ * static_cast<double>(block.experts->kinds.total()));
    if (moe.shared_hidden > 0) {
      const double hidden = static_cast<double>(moe.shared_hidden);
      add_multiplications(static_cast<int64_t>(matrices), matrices * own * width_ * hidden);
      add_sweeps(own * hidden * 2 * (matrices - 1));
    }
    if (moe.latent > 0) add_multiplications(2, 2 * own * width_ * static_cast<double>(moe.latent));
    add_sweeps(own * width_ * (6 + 4 * static_cast<double>(moe.top_k)));
    add_gradients(name, /*except_experts=*/true);
    close_layer(block, *block.experts);
    add_gradients_of_experts(name + "moe.");
  }

  /// Those of the experts are there when their backward ends, and go with what comes before the layer.
  void add_gradients_of_experts(const std::string& prefix) {
    for (const ParameterShare& share : parameters_.own) {
      if (share.name.starts_with(prefix) && of_experts(share) && share.sharers > 1) {
        costs_.model.layers.back().dense_gradient_bytes += share.elements * work_.wide;
      }
    }
  }

  /// Router and keys before the queries' way to the experts and back; what they see between it and the second way.
  void add_modules(const PlannedBlock& block, const PlannedExperts& layer, const TokenCount& tokens) {
    const double t = static_cast<double>(work_.mesh.tensor), own = static_cast<double>(tokens.own);
    const double rows = static_cast<double>(tokens.group), top_k = static_cast<double>(layer.moe.top_k);
    const moetrain::ModelConfig& model = recipe_.model;
    const double hidden = static_cast<double>(layer.out_width);
    const double kv = hidden * static_cast<double>(model.kv_heads) / static_cast<double>(model.heads);
    add_multiplications(1, own * width_ * static_cast<double>(layer.kinds.total()));
    add_sweeps(own * (6 * width_ + 2 * top_k * hidden));
    add_tensor_exchanges(1, tokens);
    const std::string prefix = block.parameters + "attention.";
    close_layer(block, layer);
    add_gradients_of_experts(prefix + "experts.query");
    const double seen = static_cast<double>(tokens.length) / (block.causal ? 2 : 1);
    add_multiplications(4, rows * 2 * width_ * kv / t + rows * 2 * seen * top_k * hidden / t);
    add_sweeps(rows * 8 * top_k * hidden / t + own * (4 + 2 * top_k) * width_);
    PlannedExperts back = layer;
    std::swap(back.row_width, back.out_width);
    close_layer(block, back);
    add_gradients_of_experts(prefix + "experts.output");
  }

  /// The MoE layer behind what has been added since the last one.
  void close_layer(const PlannedBlock& block, const PlannedExperts& layer) {
    const auto& mesh = work_.mesh;
    const double sent = static_cast<double>(work_.routed(block, layer).own * layer.moe.top_k) * choice_share(layer);
    const double element = static_cast<double>(work_.element), wide = static_cast<double>(work_.wide);
    const double row = static_cast<double>(layer.row_width), out = static_cast<double>(layer.out_width);
    const double sharing = static_cast<double>(mesh.expert * mesh.expert_tensor);
    const double at_experts = sent * sharing * std::min(1.0, imbalance_ * most_experts(recipe_, layer));
    parallel::LayerLoad load;
    // A rank gets the rows of its experts, which may be more than it hands in.
    const double got = at_experts / static_cast<double>(mesh.expert_tensor);
    // There and back, forward and backward, as wide each way on an average.
    if (mesh.expert > 1) load.all_to_all_bytes = std::max(sent, got) * (row + out) / 2 * element;
    if (mesh.expert_tensor > 1) {
      load.all_gather_bytes = at_experts * (row + out) / 2 * element;
      load.reduce_scatter_bytes = at_experts * (row + out) / 2 * wide;
    }
    load.matrices = layer.expert.matrices;
    load.multiply_adds = at_experts * layer.expert.multiply_adds;
    // One multiplication for each of a rank's experts.
    const double experts = most_experts(recipe_, layer) * static_cast<double>(moetrain::weight_sets(layer.moe));
    const double starts = (experts - 1) * multiply_.alpha * static_cast<double>(load.matrices);
    load.dense_forward_seconds = open_.forward + starts;
    load.dense_backward_seconds = open_.backward + 2 * starts + multiply_.beta * at_experts * layer.expert.made_again;
    load.dense_gradient_bytes = open_.gradient_bytes;
    if (recipe_.train.recompute == moetrain::Recompute::kBlock)
      load.dense_backward_seconds += load.dense_forward_seconds;
    if (recipe_.train.recompute != moetrain::Recompute::kNone) {
      const parallel::ChunkTimes again =
          chunk_times(costs_.model.lines, load, parallel::Direction::kForward, parallel::ExpertBackward::kTwoTasks, 1);
      load.dense_backward_seconds += 2 * again.all_to_all + again.all_gather + again.experts + again.reduce_scatter;
    }
    costs_.model.layers.push_back(load);
    open_ = {};
  }

  void add_head() {
    const double tokens = static_cast<double>(work_.passes * work_.targets());
    const double logits = tokens * static_cast<double>(work_.predicted());
    const double once = multiply_.alpha + multiply_.beta * logits * width_;
    // The gradient is formed with the logits at hand, in forward.
    open_.forward += 3 * once + swept(6 * logits);
    if (work_.ends.gathers) add_tensor_exchanges(1, work_.tokens);
    for (const char* name : {"embedding.", "final_norm.", "encoder_norm.", "head."}) add_gradients(name, false);
    costs_.model.head_forward_seconds = open_.forward;
    costs_.model.head_backward_seconds = open_.backward;
    costs_.model.head_gradient_bytes = open_.gradient_bytes;
    if (work_.passes > 1) scale_passes();
  }

  void scale_passes() {
    const auto times = static_cast<double>(work_.passes);
    for (parallel::LayerLoad& load : costs_.model.layers) {
      for (double* size : {&load.all_to_all_bytes, &load.all_gather_bytes, &load.reduce_scatter_bytes,
                           &load.multiply_adds, &load.dense_forward_seconds, &load.dense_backward_seconds}) {
        *size *= times;
      }
    }
  }

  void add_update() {
    int64_t owned = 0, gathered = 0;
    for (const ParameterShare& share : parameters_.own) {
      owned += recipe_.mesh.zero > 0 ? share.elements / share.sharers : share.elements;
      if (share.sharers > 1) gathered += share.elements;
    }
    // Weight, gradient and two moments are read, three of them written; in float32 at least.
    const double bytes = 7.0 * static_cast<double>(owned * work_.wide);
    if (machine_.sweep.given()) costs_.update_seconds = machine_.sweep.alpha + machine_.sweep.beta * bytes;
    if (recipe_.mesh.zero == 0 || work_.mesh.ranks() == 1) return;
    const bool far = crosses_hosts(axes_, parallel::Axis::kWorld, parallel::GroupUse::kGradients);
    const double seconds = line(far, &LinkLines::all_gather, "all_gather", "mesh.zero")
                               .seconds(static_cast<double>(gathered * work_.element));
    (far ? costs_.gather_between : costs_.gather_inside) += seconds;
  }

  const Recipe& recipe_;
  const ParameterTable& parameters_;
  const Workload& work_;
  const Machine& machine_;
  std::vector<HostAxis> axes_;
  double imbalance_;
  parallel::Line multiply_;
  double width_;
  StepCosts costs_;
  Dense open_;  // since the last MoE layer
};

}  // namespace

StepCosts step_costs(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                     const Machine& machine, const Cluster& cluster, double imbalance) {
  return StepCounter(recipe, parameters, work, machine, cluster, imbalance).count();
}

}  // namespace launch
