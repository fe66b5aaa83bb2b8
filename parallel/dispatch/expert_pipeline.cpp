#include "parallel/dispatch/expert_pipeline.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <optional>
#include <utility>

#include "parallel/autograd/recompute.h"
#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/carve_out.h"
#include "parallel/dispatch/chunk_stream.h"
#include "parallel/dispatch/gathered_experts.h"
#include "parallel/dispatch/row_tensors.h"
#include "parallel/phases/phase.h"

namespace parallel {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Counts = ExpertCompute::Counts;
using Weights = ExpertCompute::Weights;

/// What one pass has at this rank's experts.
struct ExpertRows {
  at::Tensor rows_ND;  // sorted by expert
  RowTensors saved;
};

/// Of the experts from `first` on those that have all their rows among the next `rows`; without a number all of them.
Counts whole_experts(const Counts& rows_per_expert, int64_t first, std::optional<int64_t> rows) {
  if (first == 0 && !rows) return rows_per_expert;
  std::vector<int64_t> whole;
  int64_t seen = 0;
  for (auto e = static_cast<size_t>(first); e < rows_per_expert.on_host().size(); ++e) {
    seen += rows_per_expert.on_host()[e];
    if (rows && seen > *rows) break;
    whole.push_back(rows_per_expert.on_host()[e]);
  }
  return whole;
}

/// What goes in and what comes out of a layer's experts: something of each token, or of each of its choices.
struct Ends {
  RowOf in = RowOf::kToken, out = RowOf::kToken;
};

/// The backward of expert_pipeline, expert_map and expert_reduce, of rows that travel.
class PipelineNode : public ExpertNode {
 public:
  PipelineNode(const Ends& ends, const ChoiceOrder& order, std::shared_ptr<const ExpertCompute> compute,
               const ExpertGroup& group)
      : ends_(ends),
        exchange_(group, order),
        compute_(std::move(compute)),
        schedule_(group.mesh->schedule()),
        layer_(group.layer) {
    forward_ = exchange_.cut(plan().forward_chunks);
    wire_ = in_order(exchange_.sorted(), forward_.wire_R);
  }

  at::Tensor run(const at::Tensor& input, const at::Tensor& weight_TK, const Weights& weights) override {
    const at::NoGradGuard no_gradient;
    const bool kept = !next_edges().empty();  // in evaluation nothing is
    const at::Tensor wire_RD = in_phase(PhaseName::kPermute, [&] { return rows_from(input, ends_.in, wire_); });
    at::Tensor out_RD;
    for (size_t pass = 0; pass < forward_.passes.size(); ++pass) {
      ExpertRows rows = run_pass(wire_RD, forward_.passes[pass], weights, kept && pass == 0, &out_RD);
      if (kept && pass == 0) first_ = std::move(rows);
    }
    at::Tensor output = in_phase(PhaseName::kCombine, [&] { return rows_to(out_RD, weight_TK, ends_.out, wire_); });
    if (!kept) return output;
    if (weight_TK.defined()) {
      out_RD_ = std::move(out_RD);
      weight_TK_ = SavedVariable(weight_TK, /*is_output=*/false);
    }
    if (exchange_.passes() > 1) input_ = SavedVariable(input, /*is_output=*/false);
    for (const at::Tensor& weight : weights) weights_.emplace_back(weight, /*is_output=*/false);
    return output;
  }

  variable_list apply(variable_list&& grad_outputs) override {
    if (!grad_outputs[0].defined()) {
      check_internal(exchange_.alone(), "expert_pipeline: no gradient came from above, and other ranks wait");
      return variable_list(num_outputs());
    }
    const at::NoGradGuard no_gradient;
    Weights weights;
    for (const SavedVariable& weight : weights_) weights.push_back(weight.unpack());
    const at::Tensor grad_output = grad_outputs[0].contiguous();
    const bool same_cut = plan().backward_chunks == plan().forward_chunks || exchange_.alone();
    const RowChunks other = same_cut ? RowChunks{} : exchange_.cut(plan().backward_chunks);
    const RowChunks& cut = same_cut ? forward_ : other;
    const Permutation& wire = same_cut ? wire_ : in_order(exchange_.sorted(), other.wire_R);
    const Incoming incoming =
        in_phase(PhaseName::kCombine, [&] { return this->incoming(grad_output, wire, same_cut); });
    at::Tensor rows_RD;
    Weights gradients = experts_backward(incoming, cut, weights, rows_RD);
    variable_list result{in_phase(PhaseName::kPermute, [&] { return rows_to(rows_RD, {}, ends_.in, wire); }),
                         incoming.weight_TK};
    result.insert(result.end(), gradients.begin(), gradients.end());
    result.resize(num_outputs());
    return result;
  }

  void release_variables() override {
    first_ = {};
    out_RD_ = at::Tensor();
    input_.reset_data();
    weight_TK_.reset_data();
    weights_.clear();
  }

  std::string name() const override { return "ExpertPipelineBackward"; }

 private:
  LayerPlan plan() const { return schedule_->layer(layer_); }
  bool overlap() const { return schedule_->plan().overlap; }
  /// Multiprocessors of a GPU. A pass in one piece has no exchange beside its experts.
  int64_t left_to_exchanges(const RowPass& pass) const {
    return overlap() && pass.chunks.size() > 1 ? schedule_->plan().carve_out : 0;
  }

  /// What backward begins with: the gradient of the experts' outputs, in wire order, and of the choices' weights.
  struct Incoming {
    at::Tensor grad_RD;
    /// Still to be multiplied in, where it is defined; until then a token's gradients are equal, so that they cross to
    /// another host once.
    at::Tensor weight_R1 = {};
    at::Tensor weight_TK = {};  // undefined where choices come out
  };

  Incoming incoming(const at::Tensor& grad_output, const Permutation& wire, bool same_cut) const {
    if (!out_RD_.defined()) return {rows_from(grad_output, ends_.out, wire)};
    const at::Tensor weight_TK = weight_TK_.unpack();
    auto [grad_RD, grad_weight_TK] = combine_rows_backward(grad_output, out_RD_, weight_TK, wire_);
    if (same_cut && !exchange_.sends_copies_once()) return {grad_RD, {}, grad_weight_TK};
    at::Tensor weight_R1 = weight_TK.flatten().index_select(0, wire.slot_R).unsqueeze(1);
    grad_RD = at::Tensor();  // before the next is made
    grad_RD = gather_rows(grad_output, wire);
    if (exchange_.sends_copies_once()) return {grad_RD, weight_R1, grad_weight_TK};
    return {grad_RD.mul_(weight_R1), {}, grad_weight_TK};
  }

  /// out_RD: where results return to; null: nobody wants them.
  ExpertRows run_pass(const at::Tensor& wire_RD, const RowPass& pass, const Weights& weights, bool keep,
                      at::Tensor* out_RD) const {
    ChunkTrace trace(schedule_->recorder(), layer_, Direction::kForward);
    Arrivals arrivals({exchange_, wire_RD, ends_.in}, forward_, pass, trace, overlap());
    Departures departures(exchange_, pass, trace, overlap());
    const CarveOut carve_out(left_to_exchanges(pass));
    ExpertRows all;
    if (keep) all.saved = places(compute_->saved_widths(wire_RD.size(1), weights), rows_in(pass), wire_RD.options());
    for (size_t c = 0; c < pass.chunks.size(); ++c) {
      const RowChunk& chunk = pass.chunks[c];
      const at::Tensor rows_ND = arrivals.take(c, all.rows_ND);
      at::Tensor out_ND;
      {
        const ComputeSpan span(trace, TaskKind::kExperts, chunk, static_cast<int64_t>(c));
        if (next_edges().empty()) {
          out_ND = compute_->evaluate(rows_ND, chunk.rows_per_expert, weights);
        } else {
          const RowTensors saved =
              keep ? narrowed(all.saved, chunk.first_row, chunk.rows())
                   : places(compute_->saved_widths(wire_RD.size(1), weights), chunk.rows(), wire_RD.options());
          out_ND = compute_->forward(rows_ND, chunk.rows_per_expert, weights, saved);
        }
      }
      if (out_RD != nullptr) departures.send(c, out_ND, *out_RD);
    }
    departures.wait();
    return all;
  }

  /// rows_RD: the gradient of the rows, in the order of `cut`. Returns those of the weights, none where they are
  /// frozen.
  Weights experts_backward(const Incoming& incoming, const RowChunks& cut, const Weights& weights,
                           at::Tensor& rows_RD) {
    Weights all;
    at::Tensor input_RD;
    if (exchange_.passes() > 1) input_RD = rows_from(input_.unpack(), ends_.in, wire_);
    for (size_t p = 0; p < cut.passes.size(); ++p) {
      ExpertRows again;
      if (p > 0) again = run_pass(input_RD, forward_.passes[p], weights, /*keep=*/true, nullptr);
      const bool last = p + 1 == cut.passes.size();
      ChunkTrace trace(schedule_->recorder(), layer_, Direction::kBackward);
      Arrivals arrivals({exchange_, incoming.grad_RD, ends_.out, incoming.weight_R1}, cut, cut.passes[p], trace,
                        overlap());
      if (last) schedule_->release_gradients(plan().moe_gradient_bytes);
      if (p == 0) again = {first_.rows_ND, to_write(first_.saved)};
      Weights gradients = pass_backward(again, arrivals, cut.passes[p], weights, trace, rows_RD);
      if (p == 0) {
        all = std::move(gradients);
      } else {
        for (size_t i = 0; i < all.size(); ++i) all[i].add_(gradients[i]);
      }
    }
    schedule_->release_gradients(plan().dense_gradient_bytes);
    return all;
  }

  Weights pass_backward(const ExpertRows& rows, Arrivals& arrivals, const RowPass& pass, const Weights& weights,
                        ChunkTrace& trace, at::Tensor& rows_RD) const {
    Departures departures(exchange_, pass, trace, overlap());
    const CarveOut carve_out(left_to_exchanges(pass));
    const RowTensors kept =
        places(compute_->kept_widths(rows.rows_ND.size(1), weights), rows_in(pass), rows.rows_ND.options());
    Weights gradients = empty_gradients(*compute_, weights);
    at::Tensor grad_out_ND;
    int64_t expert = 0, row = 0, seen = 0;  // experts whose weights are done, and their rows
    for (size_t c = 0; c < pass.chunks.size(); ++c) {
      const RowChunk& chunk = pass.chunks[c];
      const int64_t first = chunk.first_row, count = chunk.rows();
      const at::Tensor grad_ND = arrivals.take(c, grad_out_ND);
      at::Tensor grad_in_ND;
      {
        const ComputeSpan span(trace, TaskKind::kInputGradient, chunk, static_cast<int64_t>(c));
        grad_in_ND = compute_->backward_rows(rows.rows_ND.narrow(0, first, count), narrowed(rows.saved, first, count),
                                             grad_ND, chunk.rows_per_expert, weights, narrowed(kept, first, count));
      }
      departures.send(c, grad_in_ND, rows_RD);
      if (gradients.empty()) continue;
      // Nobody waits for the weights' gradients: those of experts that now have all their rows.
      const ComputeSpan span(trace, TaskKind::kWeightGradient, chunk, static_cast<int64_t>(c));
      seen += count;
      const bool all = c + 1 == pass.chunks.size();
      const Counts whole = whole_experts(pass.rows_per_expert, expert, all ? std::nullopt : std::optional(seen - row));
      const int64_t experts = whole.experts(), rows_of_whole = whole.rows();
      if (experts == 0) continue;
      compute_->backward_weights(rows.rows_ND.narrow(0, row, rows_of_whole), narrowed(rows.saved, row, rows_of_whole),
                                 grad_out_ND.narrow(0, row, rows_of_whole), narrowed(kept, row, rows_of_whole), whole,
                                 compute_->of_experts(weights, expert, experts),
                                 compute_->of_experts(gradients, expert, experts));
      expert += experts;
      row += rows_of_whole;
    }
    departures.wait();
    return gradients;
  }

  Ends ends_;
  ExpertExchange exchange_;
  std::shared_ptr<const ExpertCompute> compute_;
  std::shared_ptr<const Schedule> schedule_;
  int64_t layer_;
  RowChunks forward_;        // the cut of forward
  Permutation wire_;         // rows in its order
  ExpertRows first_;         // of the first pass
  at::Tensor out_RD_;        // the experts' outputs before weighting, in the order of forward; undefined: unweighted
  SavedVariable input_;      // where there are further passes
  SavedVariable weight_TK_;  // where outputs are weighted
  std::vector<SavedVariable> weights_;
};

/// Of so many tokens at most, in evaluation and where no other rank takes part: what a node would do, without its
/// exchange. In one pass, which for so few is no matter of memory.
constexpr int64_t kFewTokens = 64;
at::Tensor run_here(const Ends& ends, const at::Tensor& input, const Assignment& assignment,
                    const ExpertCompute& compute, const Weights& weights) {
  const Permutation sorted =
      in_phase(PhaseName::kPermute, [&] { return sort_by_expert(assignment.expert_TK, assignment.num_experts); });
  const at::Tensor rows_RD = in_phase(PhaseName::kPermute, [&] { return rows_from(input, ends.in, sorted); });
  const at::Tensor out_RD =
      in_phase(PhaseName::kExperts, [&] { return compute.evaluate(rows_RD, sorted.rows_per_expert, weights); });
  const at::Tensor weight_TK = ends.out == RowOf::kToken ? assignment.weight_TK : at::Tensor();
  return in_phase(PhaseName::kCombine, [&] { return rows_to(out_RD, weight_TK, ends.out, sorted); });
}

at::Tensor run_pipeline(const Ends& ends, const at::Tensor& input, const Assignment& assignment,
                        std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                        const ExpertGroup& group) {
  const Phase phase(PhaseName::kDispatch);
  if (!at::GradMode::is_enabled() && !will_be_replayed() && !is_accelerator(input.device()) &&
      assignment.expert_TK.size(0) <= kFewTokens && group.mesh->experts().size() == 1) {
    return run_here(ends, input, assignment, *compute, weights);
  }
  const ChoiceOrder order = in_phase(
      PhaseName::kPermute, [&] { return ChoiceOrder(assignment.expert_TK, assignment.num_experts, assignment.kept); });
  const at::Tensor weight_TK = ends.out == RowOf::kToken ? assignment.weight_TK : at::Tensor();
  const bool differentiable = at::GradMode::is_enabled() && torch::autograd::any_variable_requires_grad([&] {
                                variable_list inputs{input};
                                if (weight_TK.defined()) inputs.push_back(weight_TK);
                                inputs.insert(inputs.end(), weights.begin(), weights.end());
                                return inputs;
                              }());
  // What is made again in backward is made by the same products.
  const bool gathers = (differentiable || will_be_replayed()) && ends.in == RowOf::kToken &&
                       ends.out == RowOf::kToken && can_gather(input, *compute, group);
  const std::shared_ptr<ExpertNode> node =
      gathers ? gathered_node(order, std::move(compute), group)
              : std::shared_ptr<ExpertNode>(new PipelineNode(ends, order, std::move(compute), group),
                                            torch::autograd::deleteNode);
  if (differentiable) {
    auto edges = torch::autograd::collect_next_edges(input, weight_TK, at::TensorList(weights));
    node->set_next_edges(std::move(edges));
  }
  at::Tensor output = node->run(input, weight_TK, weights);
  if (differentiable) torch::autograd::set_history(output, node);
  return output;
}

}  // namespace

at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                           const ExpertGroup& group) {
  return run_pipeline({}, tokens_TD, assignment, std::move(compute), weights, group);
}

at::Tensor expert_map(const at::Tensor& tokens_TD, const Assignment& assignment,
                      std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                      const ExpertGroup& group) {
  return run_pipeline({.out = RowOf::kChoice}, tokens_TD, assignment, std::move(compute), weights, group);
}

at::Tensor expert_reduce(const at::Tensor& choices_TKD, const Assignment& assignment,
                         std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                         const ExpertGroup& group) {
  return run_pipeline({.in = RowOf::kChoice}, choices_TKD, assignment, std::move(compute), weights, group);
}

}  // namespace parallel
