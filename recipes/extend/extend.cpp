// moetrain with a router, a loss, an expert kind, an objective and a schedule of its own: a program outside the tree,
// with every command and key of moetrain (`extend train extend.toml`, `extend train --keys`, ...).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "launch/commands/commands.h"
#include "moetrain/objectives/terms.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/composed_router.h"
#include "parallel/dispatch/autograd_compute.h"

namespace {

using namespace moetrain;

// T tokens of this rank, E experts, K choices per token; N rows of one expert, D width, F hidden units

// ---- A router: a token's first expert goes by its id (as Hash Layers), the others by probability. ----

struct AnchoredConfig {
  int64_t stride = 1;
};

template <class Visitor>
void visit(AnchoredConfig& config, Visitor& field) {
  field("stride", config.stride, parallel::at_least(1), "the first expert of token id i is (i * stride) mod experts");
}

at::Tensor select_anchored(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context) {
  const int64_t experts = candidates.probabilities_TE.size(1), stride = config.own<AnchoredConfig>().stride;
  const at::Tensor first_T1 = (context.scope.token_ids_T * stride).remainder(experts).unsqueeze(1);
  constexpr double kAboveAll = 2;  // no probability is
  return largest_k(by_ratio(candidates.probabilities_TE.scatter(1, first_T1, kAboveAll)), config.top_k);
}

std::shared_ptr<Router> make_anchored(const ParameterSource& source, const MoeConfig& config,
                                      const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({.scores = linear_scores(input), .selection = select_anchored}, input);
}

// ---- A loss: how little the most probable expert is ahead of the second, a mean over the tokens of all ranks. ----

at::Tensor margin_share(const RoutingDecision& decision, const MoeConfig&, const RoutingContext& context) {
  const at::Tensor largest_T2 = std::get<0>(decision.probabilities_TE.topk(2, 1));
  const at::Tensor ahead_T = largest_T2.select(1, 0) - largest_T2.select(1, 1);
  return (1 - ahead_T).sum() / static_cast<double>(context.scope.global_tokens);
}

std::string needs_two(const MoeConfig& config, const RouterDemands&) {
  return config.experts < 2 ? "one expert is ahead of nobody" : "";
}

// ---- An expert kind: GEGLU (Shazeer 2020), whose gradients autograd finds. ----

std::vector<ExpertWeight> geglu_weights(const ExpertShape& shape, const MoeConfig&) {
  const int64_t D = shape.width, F = shape.hidden;  // behind each weight's shape and deviation: which of its dims is F
  return {{"gate", {D, F}, shape.std, 1}, {"up", {D, F}, shape.std, 1}, {"down", {F, D}, shape.output_std, 0}};
}

std::shared_ptr<const parallel::ExpertCompute> geglu_compute(const ExpertShape&, const MoeConfig&) {
  return std::make_shared<parallel::AutogradCompute>([](const at::Tensor& rows_ND, const auto& weights) {
    return at::mm(at::gelu(at::mm(rows_ND, weights[0])) * at::mm(rows_ND, weights[1]), weights[2]);
  });
}

// ---- An objective: the next token, with a label smoothing that fades to 0 over the first updates. ----

struct FadingConfig {
  int64_t updates = 100;
};

template <class Visitor>
void visit(FadingConfig& config, Visitor& field) {
  field("updates", config.updates, parallel::at_least(1), "objective.label_smoothing falls to 0 over so many updates");
}

class Fading : public Objective {
 public:
  explicit Fading(const ObjectiveConfig& config)
      : smoothing_(config.label_smoothing), updates_(static_cast<double>(config.own<FadingConfig>().updates)) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    const double left = std::max(0.0, 1 - static_cast<double>(pass.update) / updates_);
    ModelOutput output = model.forward(batch.inputs, pass);
    const HeadLoss loss = model.head().cross_entropy(output.hidden_TD, targets_of(batch, scale, smoothing_ * left));
    LossTerms losses;
    losses.add("next_token", loss.share);
    return with_layers(std::move(losses), loss, std::move(output), scale);
  }

 private:
  double smoothing_, updates_;
};

std::unique_ptr<Objective> make_fading(const ObjectiveInput& input) { return std::make_unique<Fading>(input.config); }

// ---- A schedule: after the warm-up half the learning rate each time that so much has been done. ----

struct HalvingConfig {
  parallel::Span every{1000, parallel::Unit::kUpdates};
};

template <class Visitor>
void visit(HalvingConfig& config, Visitor& field) {
  field("every", config.every, parallel::above(0), "after so much the learning rate is half of what it was");
}

optim::Curve halving(const optim::ScheduleConfig& config, const optim::Course& course) {
  const int64_t every = to_updates(config.own<HalvingConfig>().every, course.scale);
  return [=](int64_t update) { return std::exp2(-static_cast<double>((update - course.warmup) / every)); };
}

}  // namespace

int main(int argc, char** argv) {
  launch::Registry registry;
  registry.routers.add("anchored", {.make = make_anchored, .keys = parallel::own_keys_of<AnchoredConfig>});
  registry.losses.add("margin", {.share = margin_share, .sentence = "weight of the margin loss", .refusal = needs_two});
  registry.experts.add("geglu", {.weights = geglu_weights, .compute = geglu_compute});
  registry.objectives.add("fading", {.make = make_fading, .keys = parallel::own_keys_of<FadingConfig>});
  registry.schedules.add("halving", {.curve = halving, .keys = parallel::own_keys_of<HalvingConfig>});
  return launch::run_command_line(argc, argv, std::make_shared<const launch::Registry>(registry));
}
