#include "launch/training/train_state.h"

#include "launch/training/model_builder.h"

namespace launch {

TrainState make_train_state(const Recipe& recipe, int64_t vocabulary, at::Device device,
                            const std::shared_ptr<const parallel::Mesh>& mesh,
                            const std::shared_ptr<moetrain::Model>& teacher, int64_t length,
                            const parallel::SpanScale& scale) {
  TrainState state;
  state.seed = static_cast<uint64_t>(recipe.run.seed);
  state.micro_batches = recipe.train.micro_batches;
  state.recompute = moetrain::parse_recompute(recipe.train.recompute);
  state.objective = moetrain::builtin_objectives().at(recipe.objective.kind)({recipe.objective, teacher, mesh});
  state.model = build_model(recipe, vocabulary, device, mesh);
  state.reducer = std::make_unique<parallel::GradientReducer>(
      state.model->parameters(), gradient_groups(*state.model, *mesh),
      parallel::ReducerOptions{.sharding = mesh->sharding(), .schedule = mesh->schedule()});
  state.optimizer = std::make_unique<optim::Optimizer>(owned_parameters(*state.model, *state.reducer), recipe.optimizer,
                                                       optim::resolve(recipe.schedule, length, scale));
  return state;
}

}  // namespace launch
