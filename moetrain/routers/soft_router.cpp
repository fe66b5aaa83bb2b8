#include "moetrain/routers/soft_router.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/routers/sequence_parts.h"
#include "parallel/autograd/sum_over_ranks.h"

namespace moetrain {
namespace {

// S parts of sequences here, N sequences that several ranks hold, P slots of a sequence, L tokens of a part

using Parts = std::vector<at::Tensor>;

/// The sequences of one forward: what is summed over ranks, and who computes what.
class SlotExchange {
 public:
  SlotExchange(SequenceParts parts, parallel::Communicator& group) : parts_(std::move(parts)), group_(group) {}

  /// One tensor for each part -> the sum over all parts of its sequence. `absent` stands for a sequence that is not
  /// here: zero, and of the graph, because backward is collective.
  void sum_shared(Parts& each_S, const at::Tensor& absent) {
    if (parts_.shared.empty()) return;
    Parts mine_N;
    for (const auto& shared : parts_.shared) mine_N.push_back(shared.part < 0 ? absent : nth(each_S, shared.part));
    shared_ = parallel::sum_over_ranks(at::stack(mine_N), group_);
    for (size_t n = 0; n < parts_.shared.size(); ++n) {
      if (parts_.shared[n].part >= 0) nth(each_S, parts_.shared[n].part) = shared_[static_cast<int64_t>(n)];
    }
  }

  void max_shared(Parts& each_S, const at::Tensor& lowest) const {
    if (parts_.shared.empty()) return;
    Parts mine_N;
    for (const auto& shared : parts_.shared) mine_N.push_back(shared.part < 0 ? lowest : nth(each_S, shared.part));
    at::Tensor largest = at::stack(mine_N);
    group_.all_reduce(largest, parallel::ReduceOp::kMax).wait();
    for (size_t n = 0; n < parts_.shared.size(); ++n) {
      if (parts_.shared[n].part >= 0) nth(each_S, parts_.shared[n].part) = largest[static_cast<int64_t>(n)];
    }
  }

  /// Whether this rank computes the slots of a part's sequence.
  bool owns(size_t part) const {
    for (const auto& shared : parts_.shared) {
      if (shared.part == static_cast<int64_t>(part)) return shared.owner == group_.rank();
    }
    return true;
  }

  const std::vector<int64_t>& lengths() const { return parts_.lengths; }
  /// What the last sum_shared gave, [N, ...]; undefined where no sequence is shared.
  const at::Tensor& last_sum() const { return shared_; }

 private:
  static at::Tensor& nth(Parts& parts, int64_t index) { return parts[static_cast<size_t>(index)]; }

  SequenceParts parts_;
  parallel::Communicator& group_;
  at::Tensor shared_;
};

class SoftRouter : public Router {
 public:
  SoftRouter(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape)
      : experts_(expert_kinds(config).total()), slots_(config.own<SoftConfig>().slots) {
    weight_PD_ = register_parameter("weight", source.normal("weight", {experts_ * slots_, shape.width}, shape.std));
  }

  RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) override {
    const BatchScope& scope = context.scope;
    const at::ScalarType wide = tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor wide_TD = tokens_TD.to(wide);
    const at::Tensor logits_TP = at::linear(wide_TD, weight_PD_.to(wide));
    RoutingDecision decision;
    decision.logits_TE = logits_TP.view({-1, experts_, slots_}).logsumexp(2);
    decision.probabilities_TE = at::softmax(decision.logits_TE, 1);
    const at::TensorOptions whole = at::TensorOptions(at::kLong).device(tokens_TD.device());
    decision.chosen_TK = at::arange(experts_, whole).expand(decision.logits_TE.sizes()).contiguous();
    decision.gate_TK = decision.probabilities_TE;
    decision.assignment = {decision.chosen_TK, decision.gate_TK.to(tokens_TD.scalar_type()), experts_};
    decision.global_choices_E = at::full({experts_}, slots_ * scope.global_sequences, whole);
    decision.global_first_E = decision.global_choices_E;
    SlotExchange exchange(sequence_parts(scope, tokens_TD.device()), scope.group);
    decision.slots = mix(wide_TD, logits_TP, std::move(exchange), tokens_TD.scalar_type());
    return decision;
  }

 private:
  /// Of each part, sum over its tokens of exp(logit - largest of the sequence) * (token, 1): [P, D + 1].
  Parts weighted_sums(const at::Tensor& wide_TD, const Parts& logits_LP, SlotExchange& exchange) const {
    Parts largest_P, sums_PX;
    for (const at::Tensor& logits : logits_LP) largest_P.push_back(logits.detach().amax(0));
    const at::TensorOptions options = wide_TD.options();
    exchange.max_shared(largest_P, at::full({weight_PD_.size(0)}, -std::numeric_limits<double>::infinity(), options));
    const at::Tensor with_one_TX = at::cat({wide_TD, at::ones({wide_TD.size(0), 1}, options)}, 1);
    int64_t first = 0;
    for (size_t s = 0; s < logits_LP.size(); ++s) {
      const at::Tensor power_LP = at::exp(logits_LP[s] - largest_P[s]);
      sums_PX.push_back(at::mm(power_LP.t(), with_one_TX.narrow(0, first, power_LP.size(0))));
      first += power_LP.size(0);
    }
    const at::Tensor nothing = (weight_PD_.to(wide_TD.scalar_type()).sum() + wide_TD.sum()) * 0.0;
    exchange.sum_shared(sums_PX, nothing.expand({weight_PD_.size(0), wide_TD.size(1) + 1}));
    return sums_PX;
  }

  SlotMix mix(const at::Tensor& wide_TD, const at::Tensor& logits_TP, SlotExchange exchange,
              at::ScalarType type) const {
    const int64_t width = wide_TD.size(1), slots = weight_PD_.size(0);
    Parts logits_LP, rows_PD;
    if (!exchange.lengths().empty()) logits_LP = logits_TP.split_with_sizes(exchange.lengths(), 0);
    const Parts sums_PX = weighted_sums(wide_TD, logits_LP, exchange);
    for (size_t s = 0; s < sums_PX.size(); ++s) {
      if (!exchange.owns(s)) continue;
      rows_PD.push_back(sums_PX[s].narrow(1, 0, width) / sums_PX[s].narrow(1, width, 1));
    }
    const auto owned = static_cast<int64_t>(rows_PD.size());
    SlotMix result;
    result.rows_RD = (owned > 0 ? at::cat(rows_PD) : wide_TD.narrow(0, 0, 0)).to(type);
    const at::TensorOptions whole = at::TensorOptions(at::kLong).device(wide_TD.device());
    const at::Tensor expert_R1 = at::arange(slots, whole).div(slots_, "floor").repeat({owned}).unsqueeze(1);
    result.assignment = {expert_R1, at::ones(expert_R1.sizes(), wide_TD.options().dtype(type)), experts_,
                         /*kept=*/expert_R1.numel()};
    result.combine = [logits_LP, exchange, slots, wide = wide_TD.scalar_type()](const at::Tensor& out_RD) mutable {
      return combined(out_RD.to(wide), logits_LP, exchange, slots).to(out_RD.scalar_type());
    };
    return result;
  }

  static at::Tensor combined(const at::Tensor& out_RD, const Parts& logits_LP, SlotExchange& exchange, int64_t slots) {
    const int64_t width = out_RD.size(1);
    const at::Tensor sums_NPX = exchange.last_sum();
    // Slots that another rank computes, and sequences that are not here: nothing, but of the graph.
    at::Tensor nothing = at::zeros({slots, width}, out_RD.options());
    if (sums_NPX.defined()) nothing = nothing + (sums_NPX.sum() * 0.0).to(out_RD.scalar_type());
    Parts out_PD, tokens_LD;
    int64_t row = 0;
    for (size_t s = 0; s < logits_LP.size(); ++s) {
      out_PD.push_back(exchange.owns(s) ? out_RD.narrow(0, slots * row++, slots) : nothing);
    }
    exchange.sum_shared(out_PD, nothing);
    for (size_t s = 0; s < logits_LP.size(); ++s) {
      tokens_LD.push_back(at::mm(at::softmax(logits_LP[s], 1), out_PD[s]));
    }
    const at::Tensor out_TD = tokens_LD.empty() ? out_RD.narrow(0, 0, 0) : at::cat(tokens_LD);
    return sums_NPX.defined() ? out_TD + exchange.last_sum().sum() * 0.0 : out_TD;
  }

  int64_t experts_, slots_;
  at::Tensor weight_PD_;
};

}  // namespace

std::shared_ptr<Router> soft_router(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  return std::make_shared<SoftRouter>(source, config, shape);
}

}  // namespace moetrain
