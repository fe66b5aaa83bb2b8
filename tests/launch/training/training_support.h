// defines: test_groups, tiny_recipe, tiny_translation_recipe, teacher_of, test_layouts, layouts_of_case, run_updates,
// trace_of_one_rank, UpdateTrace, largest_difference, expect_same_trace
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <thread>
#include <vector>

#include "data/datasets/token_mixture.h"
#include "launch/models/model_builder.h"
#include "launch/ranks/groups.h"
#include "launch/training/train_step.h"
#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/expert_blocks.h"
#include "moetrain/objectives/distillation.h"
#include "moetrain/objectives/two_pass.h"
#include "moetrain/routers/scores/scores.h"
#include "moetrain/routers/selections/selections.h"
#include "moetrain/routers/soft_router.h"
#include "tests/support/world.h"

/// All ranks of the test, every collective checked; on hosts as stated (make_groups). Collective.
inline launch::Groups test_groups(const parallel::MeshConfig& mesh = {}, const std::vector<int64_t>& hosts = {}) {
  return launch::make_groups(test_mpi_world(), at::kCPU, launch::Checks::kCollectives, mesh, hosts);
}

/// 2 blocks of width 24 with 6 experts; 3 updates take a fraction of a second.
inline launch::Recipe tiny_recipe(const std::string& data_file) {
  launch::Recipe recipe;
  recipe.data = {.file = data_file, .sequence_length = 16};
  recipe.run.precision = "float64";
  recipe.model.layers = 2;
  recipe.model.width = 24;
  recipe.model.heads = 12;
  recipe.model.kv_heads = 2;
  recipe.model.ffn_hidden = 36;
  recipe.model.init_std = 0.1;
  recipe.moe.experts = 6;
  recipe.moe.hidden = 16;
  recipe.train.length = {6, parallel::Unit::kUpdates};
  recipe.train.global_batch = 12;
  recipe.train.log_every = {1, parallel::Unit::kUpdates};
  recipe.schedule.warmup = {2, parallel::Unit::kUpdates};
  return recipe;
}

/// Pairs of a text in two languages through 2 + 2 blocks, experts in all of them; 5 to 15 pairs an update.
inline launch::Recipe tiny_translation_recipe(const std::string& data_file) {
  launch::Recipe recipe = tiny_recipe(data_file);
  recipe.data.directions = "en-de";
  recipe.model.kind = "encoder_decoder";
  recipe.model.encoder_layers = 2;
  recipe.train.batch_tokens = 350;
  return recipe;
}

/// A fixed model for distillation, of another seed than the student's; null where the recipe wants none.
inline std::shared_ptr<moetrain::Model> teacher_of(launch::Recipe recipe, int64_t vocabulary) {
  if (recipe.objective_preset().teacher == nullptr) return nullptr;
  recipe.run.seed += 100;
  if (recipe.objective.kind == "pre_gate") {  // a dense model, whose hidden units the student's experts have
    recipe.model.ffn_hidden = recipe.moe.own<moetrain::PreGateConfig>().units;
    recipe.moe = {}, recipe.moe.layers = "none";
  }
  return launch::build_model(recipe, vocabulary, at::kCPU);
}

/// `mesh` with a layer's experts spread over so many ranks each way, uneven where they do not divide.
inline parallel::MeshConfig with_experts(parallel::MeshConfig mesh, const launch::Recipe& recipe, int64_t expert,
                                         int64_t expert_tensor) {
  bool divides = true, alike = true;
  for (const auto& layer : moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model))) {
    divides = divides && moetrain::weight_sets(layer) % expert == 0;
    alike = alike && moetrain::weight_sets(layer) == moetrain::weight_sets(recipe.moe);
  }
  if (!alike && !divides) {
    expert_tensor *= recipe.moe.hidden % expert == 0 ? expert : 1;
    expert = 1;
  }
  mesh.expert = expert;
  mesh.expert_tensor = expert_tensor;
  mesh.receive_bound = 1.5;
  if (divides || !alike) return mesh;
  mesh.experts_by_rank.assign(static_cast<size_t>(expert), 1);
  mesh.experts_by_rank.front() += moetrain::weight_sets(recipe.moe) - expert;
  return mesh;
}

/// Where rows go by host: the two halves of the expert axis are said to be two hosts. Otherwise as MPI finds them.
inline std::vector<int64_t> stated_hosts(const parallel::MeshConfig& mesh, int64_t ranks) {
  std::vector<int64_t> hosts;
  for (int64_t rank = 0; mesh.dispatch == parallel::Dispatch::kHierarchical && rank < ranks; ++rank) {
    hosts.push_back(parallel::mesh_shape(mesh, ranks).place(rank).expert * 2 / mesh.expert);
  }
  return hosts;
}

/// Data parallel only with ZeRO, tensor groups, the experts spread over all ranks as far as they can be (by host too),
/// and both folded.
inline std::vector<parallel::MeshConfig> test_layouts(const launch::Recipe& recipe, int64_t ranks) {
  if (ranks == 1) return {{}};
  std::vector<parallel::MeshConfig> layouts{{.zero = 1}, {.tensor = ranks}};
  const bool pairs = ranks % 2 == 0;
  if (recipe.moe.layers == "none") {
    if (ranks > 2 && pairs) layouts.push_back({.tensor = 2});
    return layouts;
  }
  const parallel::MeshConfig by_host = with_experts({.dispatch = "hierarchical", .zero = 1}, recipe, ranks, 1);
  if (by_host.expert > 1) layouts.push_back(by_host);
  layouts.push_back(with_experts({.zero = 2}, recipe, ranks == 4 ? 2 : ranks, ranks == 4 ? 2 : 1));
  if (pairs) layouts.push_back(with_experts({.tensor = 2}, recipe, ranks, 1));
  return layouts;
}

/// Whether MOETRAIN_ALL_LAYOUTS is set (by tests/figures/layouts_equal).
inline bool all_layouts() { return std::getenv("MOETRAIN_ALL_LAYOUTS") != nullptr; }

/// The second update works on what the first has left in weights, moments, biases and draws; the third does so again.
inline int64_t updates_of_case() { return all_layouts() ? 3 : 2; }

/// Two of test_layouts, which cases by their number and rank counts take in turn, so that every layout meets about half
/// of all cases; all_layouts: all of them.
inline std::vector<parallel::MeshConfig> layouts_of_case(const launch::Recipe& recipe, int64_t ranks, size_t number) {
  const std::vector<parallel::MeshConfig> all = test_layouts(recipe, ranks);
  if (all.size() <= 2 || all_layouts()) return all;
  const size_t first = number + static_cast<size_t>(ranks);
  return {all[first % all.size()], all[(first + 1 + number / all.size() % (all.size() - 1)) % all.size()]};
}

/// Layouts take turns: rows in chunks (others in backward) with gradients in slices at planned places; in chunks with
/// gradients in slices when they are there; the default.
inline parallel::Plan test_plan(const parallel::MeshConfig& mesh) {
  using parallel::GradientRelease;
  const std::vector<parallel::LayerPlan> layers(
      8, {.forward_chunks = 3, .backward_chunks = 5, .moe_gradient_bytes = 9000, .dense_gradient_bytes = 2500});
  if (mesh.zero == 1 || mesh.expert > 1) {
    return {.name = "planned", .overlap = true, .release = GradientRelease::kPlanned, .layers = layers};
  }
  if (mesh.zero == 2) return {.name = "slices", .overlap = true, .slice_bytes = 3000, .layers = layers};
  return {};
}

struct UpdateTrace {
  std::vector<launch::StepReport> reports;
  std::vector<at::Tensor> parameters;  // float64, whole on every rank
  std::vector<at::Tensor> gradients;   // likewise, of the first update, where they are asked for
};

/// The whole of a parameter from the parts of all ranks. Collective.
inline at::Tensor whole_parameter(const at::Tensor& part, const moetrain::Model& model, const std::string& name,
                                  const launch::Groups& groups) {
  const auto found = model.placements().find(name);
  if (found == model.placements().end()) return part.to(at::kDouble).clone();
  at::Tensor whole = at::zeros(found->second.global_shape, at::kDouble);
  if (groups.mesh->replicas(found->second.replicas)->rank() == 0) {
    int64_t place = 0;
    for (const parallel::ElementRange& run : found->second.runs) {
      whole.flatten().narrow(0, run.begin, run.count).copy_(part.flatten().narrow(0, place, run.count));
      place += run.count;
    }
  }
  groups.control->all_reduce(whole, parallel::ReduceOp::kSum).wait();
  return whole;
}

struct RunOptions {
  std::optional<parallel::NameTable<moetrain::RouterPreset>> routers = std::nullopt;  // none: the recipe's registry's
  bool gradients = false;                                                             // trace them; without sharding
  std::optional<parallel::Plan> plan = std::nullopt;                                  // none: by test_plan
};

/// Trains from scratch on the ranks of `groups`, without a run folder.
inline UpdateTrace run_updates(launch::Recipe recipe, const launch::Groups& groups, int64_t updates,
                               const RunOptions& options = {}) {
  if (options.routers) {
    launch::Registry registry = *recipe.registry;
    registry.routers = *options.routers;
    recipe.registry = std::make_shared<const launch::Registry>(registry);
  }
  const auto corpus = data::TokenMixture::open(recipe.data.file);
  const auto batches = launch::make_training_batches(corpus, recipe, groups.shard);
  groups.mesh->follow(options.plan.value_or(test_plan(groups.mesh->config())));
  launch::TrainState state;
  state.seed = static_cast<uint64_t>(recipe.run.seed);
  state.micro_batches = recipe.train.micro_batches;
  state.recompute = recipe.train.recompute;
  state.objective = recipe.objective_preset().make(
      {recipe.objective, teacher_of(recipe, corpus.tokenizer().vocabulary_size()), groups.mesh});
  state.model = launch::build_model(recipe, corpus.tokenizer().vocabulary_size(), at::kCPU, groups.mesh);
  state.reducer = launch::build_reducer(recipe, *state.model, groups.mesh, /*bucket_bytes=*/20000);
  state.optimizer =
      launch::build_optimizer(recipe, *state.model, *state.reducer,
                              optim::resolve(recipe.schedule, recipe.schedule_rule(), recipe.train.length.count, {}));
  UpdateTrace trace;
  for (int64_t update = 0; update < updates; ++update) {
    const std::vector<launch::MicroBatch> read = batches->read(update);
    at::Tensor targets = at::zeros({1}, at::kLong);
    for (const launch::MicroBatch& batch : read) targets += launch::counted_targets(batch, *groups.mesh);
    groups.control->all_reduce(targets, parallel::ReduceOp::kSum).wait();
    trace.reports.push_back(launch::train_step(state, read, targets.item<int64_t>(), groups));
    if (update > 0 || !options.gradients || groups.mesh->sharding() != parallel::Sharding::kNone) continue;
    for (size_t i = 0; const auto& parameter : launch::trained_parameters(*state.model)) {
      trace.gradients.push_back(whole_parameter(state.reducer->gradient(i++), *state.model, parameter.name, groups));
    }
  }
  for (const auto& [name, tensor] : launch::named_parameters(*state.model)) {
    trace.parameters.push_back(whole_parameter(tensor.detach(), *state.model, name, groups));
  }
  return trace;
}

/// What one rank alone makes of the recipe: on rank 0. The others sleep meanwhile and get an empty trace, so that on
/// few cores it costs once what it costs. Collective.
inline UpdateTrace trace_of_one_rank(const launch::Recipe& recipe, int64_t updates, const RunOptions& options = {}) {
  UpdateTrace trace;
  if (test_world()->rank() == 0) trace = run_updates(recipe, launch::local_groups(), updates, options);
  parallel::Work all_here = test_mpi_world()->all_reduce(at::zeros({1}), parallel::ReduceOp::kSum);
  while (!all_here.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  all_here.wait();
  return trace;
}

inline double relative_difference(double value, double reference) {
  return std::abs(value - reference) / std::max(std::abs(reference), 1e-300);
}

/// Rank 0's largest relative difference of losses, gradient norms and parameters, told to all: of a tensor against its
/// largest element, or a thousandth of the root mean square over all parameters where that is larger (a true zero
/// gradient leaves only noise). Collective.
inline double largest_difference(const UpdateTrace& trace, const UpdateTrace& reference) {
  const bool first = test_world()->rank() == 0;
  double worst = 0;
  const auto take = [&](double apart) {
    if (!(apart <= worst)) worst = std::isnan(apart) ? std::numeric_limits<double>::infinity() : apart;
  };
  for (size_t i = 0; first && i < reference.reports.size(); ++i) {
    const launch::StepReport &a = trace.reports.at(i), &b = reference.reports[i];
    for (size_t l = 0; l < b.losses.size(); ++l) {
      take(relative_difference(a.losses.at(l).second, b.losses[l].second));
    }
    take(relative_difference(a.gradient_norm, b.gradient_norm));
  }
  double squares = 0, elements = 0;
  for (const at::Tensor& tensor : reference.parameters) {
    squares += tensor.square().sum().item<double>();
    elements += static_cast<double>(tensor.numel());
  }
  const double floor = 1e-3 * std::sqrt(squares / elements);
  for (size_t i = 0; first && i < reference.parameters.size(); ++i) {
    const double scale = std::max(reference.parameters[i].abs().max().item<double>(), floor);
    take((trace.parameters[i] - reference.parameters[i]).abs().max().item<double>() / scale);
  }
  const at::Tensor told = at::full({1}, worst, at::kDouble);
  test_world()->all_reduce(told, parallel::ReduceOp::kMax).wait();
  return told.item<double>();
}

/// Of each update its losses, gradient norm and dropped assignments: [N] in float64.
inline at::Tensor reported_numbers(const UpdateTrace& trace) {
  std::vector<double> numbers;
  for (const launch::StepReport& report : trace.reports) {
    for (const auto& loss : report.losses) numbers.push_back(loss.second);
    numbers.push_back(report.gradient_norm);
    numbers.push_back(static_cast<double>(report.dropped()));
  }
  return at::tensor(numbers, at::kDouble);
}

/// That rank 0's trace is `reference` (of trace_of_one_rank), and that the other ranks report what it does. Collective.
inline void expect_same_trace(const UpdateTrace& trace, const UpdateTrace& reference, double tolerance) {
  const at::Tensor own = reported_numbers(trace), bounds = at::stack({own, -own});
  test_world()->all_reduce(bounds, parallel::ReduceOp::kMax).wait();
  EXPECT_TRUE(bounds[0].equal(-bounds[1])) << "ranks report other numbers:\n" << bounds;
  EXPECT_LE(largest_difference(trace, reference), tolerance);
  if (test_world()->rank() != 0) return;
  ASSERT_EQ(trace.reports.size(), reference.reports.size());
  for (size_t i = 0; i < trace.reports.size(); ++i) {
    EXPECT_EQ(trace.reports[i].dropped(), reference.reports[i].dropped()) << "update " << i + 1;
  }
}
