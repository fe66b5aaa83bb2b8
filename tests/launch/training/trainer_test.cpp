// Whole runs: resumption, interruption, evaluation, and what a run folder holds.
#include "launch/training/trainer.h"

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "data/batching/sequence_sampler.h"
#include "launch/evaluation/evaluation.h"
#include "tests/launch/training/trainer_fixture.h"

namespace {

using launch::Trainer;

/// Update rules take turns.
std::string rule_in_turn(int turn) {
  const std::vector<std::string> rules = optim::builtin_updates().names();
  return rules[static_cast<size_t>(turn) % rules.size()];
}

TEST_F(TrainerTest, ResumptionIsBitwiseTheUninterruptedRun) {
  const auto expect_same_bits = [&](const std::string& precision, const parallel::MeshConfig& mesh, int number) {
    const std::string name = precision + std::to_string(number);
    launch::Recipe whole = recipe_in("whole_" + name, precision), cut = recipe_in("cut_" + name, precision);
    whole.mesh = cut.mesh = mesh;
    whole.optimizer.kind = cut.optimizer.kind = rule_in_turn(number);
    ASSERT_EQ(run(whole), Trainer::End::kDone);
    ASSERT_EQ(run(cut), Trainer::End::kDone);
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(cut.run.folder, 6));
    });
    ASSERT_EQ(run(cut, /*resume=*/true), Trainer::End::kDone);
    const auto a = saved_parameters(whole, 6), b = saved_parameters(cut, 6);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << name << ", parameter " << i;
  };
  for (const std::string precision : {"float32", "float64"}) {
    for (int number = 0; number < 2; ++number) expect_same_bits(precision, {}, number);
  }
  int number = 0;
  for (const auto& mesh : test_layouts(tiny_recipe(corpus_), world_->size())) expect_same_bits("bf16", mesh, number++);
}

TEST_F(TrainerTest, RecomputeMovesNoBitAndMayChangeInMidRun) {
  launch::Recipe whole = recipe_in("kept", "float64"), cut = recipe_in("recomputed", "float64");
  whole.mesh = cut.mesh = with_experts({}, whole, world_->size(), 1);
  cut.train.recompute = "block";
  ASSERT_EQ(run(whole), Trainer::End::kDone);
  ASSERT_EQ(run(cut), Trainer::End::kDone);
  // It did happen: rows go to the experts and back three times, and not twice.
  if (world_->rank() == 0 && world_->size() > 1) {
    const auto rows = [](const launch::Recipe& recipe) {
      return metrics_of(recipe).at(1).at("bytes").at("expert").get<int64_t>();
    };
    EXPECT_EQ(2 * rows(cut), 3 * rows(whole));
  }
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(cut.run.folder, 6));
  });
  cut.train.recompute = "moe";
  ASSERT_EQ(run(cut, /*resume=*/true), Trainer::End::kDone);
  const auto a = saved_parameters(whole, 6), b = saved_parameters(cut, 6);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << "parameter " << i;
}

/// The bias moves after each update and is no parameter: without it in the checkpoint the choices would differ.
TEST_F(TrainerTest, ARoutersBiasIsSavedAndGoesOn) {
  const auto biased = [&](const std::string& folder) {
    launch::Recipe recipe = recipe_in(folder, "float32");
    recipe.moe.router = "sigmoid_bias";
    recipe.moe.own<moetrain::SigmoidBiasConfig>().bias_rate = 0.5;  // large enough to turn choices
    return recipe;
  };
  const launch::Recipe whole = biased("biased"), cut = biased("biased_cut");
  ASSERT_EQ(run(whole), Trainer::End::kDone);
  ASSERT_EQ(run(cut), Trainer::End::kDone);
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(cut.run.folder, 6));
  });
  ASSERT_EQ(run(cut, /*resume=*/true), Trainer::End::kDone);
  const auto model = launch::build_model(whole, 257, at::kCPU), resumed = launch::build_model(cut, 257, at::kCPU);
  const auto a = launch::parameter_tensors(*model), b = launch::parameter_tensors(*resumed);
  launch::read_checkpoint(launch::checkpoint_path(whole.run.folder, 6), a);
  launch::read_checkpoint(launch::checkpoint_path(cut.run.folder, 6), b);
  double bias = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].path;
    if (a[i].path.ends_with("router.bias")) bias += a[i].tensor.abs().sum().item<double>();
  }
  EXPECT_GT(bias, 0.5);
}

TEST_F(TrainerTest, ACheckpointGoesOnAtAnotherLayout) {
  int number = 0;
  for (const parallel::MeshConfig& mesh : test_layouts(tiny_recipe(corpus_), world_->size())) {
    SCOPED_TRACE(parallel::mesh_shape(mesh, world_->size()).describe());
    launch::Recipe recipe = recipe_in("moved" + std::to_string(number), "float64");
    recipe.optimizer.kind = rule_in_turn(++number);
    recipe.mesh = mesh;
    ASSERT_EQ(run(recipe), Trainer::End::kDone);
    const auto expected = saved_parameters(recipe, 6);
    const auto forget_the_last = [&] {
      parallel::all_ranks(*world_, [] {});  // all have read it
      parallel::all_ranks(*world_, [&] {
        if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(recipe.run.folder, 6));
      });
    };
    const auto expect_the_same = [&] {
      parallel::all_ranks(*world_, [] {});
      const auto found = saved_parameters(recipe, 6);
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_LE((found[i] - expected[i]).abs().max().item<double>(), 1e-10 * expected[i].abs().max().item<double>());
      }
      parallel::all_ranks(*world_, [] {});
    };
    forget_the_last();
    if (world_->rank() == 0) {  // one rank goes on with what all of them saved
      launch::Recipe on_one = recipe;
      on_one.mesh = {};
      on_one.checkpoint.every = {4, parallel::Unit::kUpdates};
      Trainer alone(on_one, launch::local_groups(), at::kCPU, interrupt_, {.resume = true});
      EXPECT_EQ(alone.run(), Trainer::End::kDone);
    }
    expect_the_same();
    forget_the_last();
    EXPECT_EQ(run(recipe, /*resume=*/true), Trainer::End::kDone);  // and all of them with what one saved
    expect_the_same();
  }
}

TEST_F(TrainerTest, ASignalToOneRankSavesOnAllOfThem) {
  const launch::Recipe recipe = recipe_in("interrupted", "float32");
  Trainer trainer(recipe, test_groups(), at::kCPU, interrupt_, {});
  if (world_->rank() == world_->size() - 1) std::raise(SIGUSR1);
  EXPECT_EQ(trainer.run(), Trainer::End::kInterrupted);
  EXPECT_EQ(launch::newest_update(recipe.run.folder, *world_), 0);
}

TEST_F(TrainerTest, KeepsTheNewestCheckpointsOnly) {
  launch::Recipe recipe = recipe_in("kept", "float32");
  recipe.checkpoint.every = {1, parallel::Unit::kUpdates};
  run(recipe);
  parallel::all_ranks(*world_, [] {});  // one rank removes the old ones
  for (int64_t update = 1; update <= 6; ++update) {
    EXPECT_EQ(std::filesystem::exists(launch::checkpoint_path(recipe.run.folder, update)), update >= 5) << update;
  }
}

TEST_F(TrainerTest, MetricsHoldTheNumbersOfEachUpdate) {
  launch::Recipe recipe = recipe_in("metrics", "float64");
  recipe.evaluate.every = {6, parallel::Unit::kUpdates};
  run(recipe);
  if (world_->rank() != 0) return;
  const UpdateTrace reference = run_updates(recipe, launch::local_groups(), 3);
  int64_t steps = 0;
  for (const auto& line : metrics_of(recipe)) {
    if (line["event"] != "step") continue;
    const int64_t step = line["step"].get<int64_t>();
    EXPECT_EQ(step, ++steps);
    if (step > 3) continue;
    const auto& report = reference.reports[static_cast<size_t>(step - 1)];
    EXPECT_NEAR(line["loss"]["total"].get<double>(), report.total_loss(), 1e-10);
    EXPECT_NEAR(line["gradient_norm"].get<double>(), report.gradient_norm, 1e-10);
    ASSERT_EQ(line["layers"].size(), 2u);
    double sum = 0;
    for (const double share : line["layers"][0]["load"]) sum += share;
    EXPECT_NEAR(sum, 1.0, 1e-12);
  }
  EXPECT_EQ(steps, 6);
}

TEST_F(TrainerTest, MetricsHoldTheBytesOfAnUpdateAlone) {
  launch::Recipe recipe = recipe_in("bytes", "float64");
  recipe.train.log_every = {2, parallel::Unit::kUpdates};
  recipe.evaluate.every = {1, parallel::Unit::kUpdates};  // moves bytes of its own
  run(recipe);
  if (world_->rank() != 0) return;
  for (const auto& line : metrics_of(recipe)) {
    if (line["event"] != "step") continue;
    // Targets, interrupts and failures; 3 losses, entropy and drops of 2 blocks. Then top-2 counts of 6 experts in
    // each.
    EXPECT_EQ(line["bytes"]["control"].get<int64_t>(), world_->size() > 1 ? 8 * (3 + 3 + 2 * 2) : 0);
    EXPECT_EQ(line["bytes"]["world"].get<int64_t>(), world_->size() > 1 ? 8 * 2 * 2 * 6 : 0);
  }
}

launch::Evaluation evaluate_in(launch::Recipe recipe, moetrain::Model& model, const data::TokenCorpus& corpus,
                               int64_t batch, const launch::Groups& groups) {
  recipe.evaluate.batch = batch;
  return launch::evaluate(model, *recipe.objective_preset().make({recipe.objective, nullptr}),
                          *launch::make_held_out_batches(corpus, recipe, groups.shard), groups);
}

TEST_F(TrainerTest, EvaluationDrawsByPlaceInTheTextWhateverRanksAndBatch) {
  launch::Recipe recipe = tiny_recipe(corpus_);
  recipe.moe.router = "thor";
  recipe.moe.top_k = 1;
  recipe.moe.gate = "hard";
  const auto corpus = data::TokenCorpus::open(corpus_);
  const launch::Groups groups = test_groups(), alone = launch::local_groups();
  for (const char* inference : {"sentence", "token", "ensemble"}) {
    recipe.moe.own<moetrain::ThorConfig>().inference = inference;
    const auto model = launch::build_model(recipe, 257, at::kCPU);
    const auto spread = evaluate_in(recipe, *model, corpus, 5, groups);
    const auto whole = evaluate_in(recipe, *model, corpus, 16, alone);
    EXPECT_NEAR(spread.overall.nll, whole.overall.nll, 1e-10 * whole.overall.nll) << inference;
    EXPECT_EQ(spread.routing[0].choices, whole.routing[0].choices) << inference;
  }
}

TEST_F(TrainerTest, EvaluationIsTheMeanOverEveryHeldOutToken) {
  const launch::Recipe recipe = tiny_recipe(corpus_);
  const auto corpus = data::TokenCorpus::open(corpus_);
  const auto model = launch::build_model(recipe, 257, at::kCPU);
  const launch::Groups groups = test_groups();
  const auto result = evaluate_in(recipe, *model, corpus, 5, groups);
  // By hand: one window at a time on one rank.
  const at::NoGradGuard no_gradient;
  const auto stream = corpus.stream(data::Split::kHeldOut);
  const launch::Groups alone = launch::local_groups();
  double nll = 0;
  int64_t tokens = 0;
  for (int64_t begin = 0; begin < stream.size(); begin += 16) {
    const auto batch = data::read_windows(stream, 16, {begin / 16});
    const at::Tensor inputs = at::tensor(batch.tokens, at::kLong).view({1, 16});
    const auto output = model->forward({.tokens = moetrain::TokenSide::whole(inputs)}, {.group = *alone.tokens});
    const at::Tensor log_p = at::log_softmax(model->head().logits(output.hidden_TD), 1);
    for (int64_t t = 0; t < 16; ++t) {
      if (batch.targets[static_cast<size_t>(t)] < 0) continue;
      nll -= log_p[t][batch.targets[static_cast<size_t>(t)]].item<double>();
      ++tokens;
    }
  }
  EXPECT_EQ(result.overall.tokens, tokens);
  EXPECT_EQ(tokens, stream.size());
  EXPECT_NEAR(result.overall.nll, nll, 1e-9 * nll);
  EXPECT_NEAR(result.overall.bits_per_byte(), nll / std::numbers::ln2 / static_cast<double>(stream.bytes()), 1e-9);
  double choices = 0;
  for (const auto& group : result.routing[0].choices) choices += std::accumulate(group.begin(), group.end(), 0.0);
  EXPECT_EQ(choices, static_cast<double>(2 * tokens));
}

/// Where no weight changes, no evaluation is lower than the first: the run ends, and its best stays.
TEST_F(TrainerTest, EndsWhenHeldOutLossStopsFallingAndKeepsTheBest) {
  launch::Recipe whole = recipe_in("patience", "float64");
  whole.optimizer.learning_rate = 1e-30;  // no weight changes
  whole.train.length = {20, parallel::Unit::kUpdates};
  whole.evaluate.every = {2, parallel::Unit::kUpdates};
  whole.evaluate.patience = 2;
  whole.checkpoint = {.every = {1, parallel::Unit::kUpdates}, .keep = 1, .keep_best = true};
  EXPECT_EQ(run(whole), launch::Trainer::End::kDone);
  launch::Recipe parts = whole;
  parts.run.folder = folder_.path() / "patience_in_parts";
  parts.train.length = {4, parallel::Unit::kUpdates};
  run(parts);
  parts.train.length = whole.train.length;
  run(parts, /*resume=*/true);
  for (const launch::Recipe& recipe : {whole, parts}) {
    EXPECT_EQ(launch::checkpoint_updates(recipe.run.folder), (std::vector<int64_t>{2, 6}));
    const launch::CheckpointInfo info = launch::read_checkpoint_info(launch::checkpoint_path(recipe.run.folder, 6));
    EXPECT_EQ(info.best.update, 2);
    EXPECT_EQ(info.best.since, 2);
    EXPECT_GT(info.best.loss, 1.0);
    EXPECT_EQ(launch::chosen_update(recipe.run.folder, "best", *world_), 2);
    EXPECT_EQ(metrics_of(recipe).back().at("step"), 6);
  }
  run(whole, /*resume=*/true);  // nothing is left to do
  EXPECT_EQ(launch::checkpoint_updates(whole.run.folder), (std::vector<int64_t>{2, 6}));
  world_->all_reduce(at::zeros({1}), parallel::ReduceOp::kSum).wait();
  whole.evaluate.patience = 3;
  run(whole, /*resume=*/true);
  EXPECT_EQ(launch::checkpoint_updates(whole.run.folder), (std::vector<int64_t>{2, 8}));
}

}  // namespace
