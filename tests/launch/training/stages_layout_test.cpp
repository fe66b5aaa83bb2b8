// Runs of stages: the same on every layout, resumed anywhere in the bits of the undisturbed run, and a stage is to the
// next what a run is to one that starts from it.
#include <algorithm>
#include <map>

#include "launch/models/trained_model.h"
#include "launch/stages/seam.h"
#include "launch/surgery/transformed_run.h"
#include "tests/launch/training/trainer_fixture.h"

namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

class Stages : public TrainerTest {
 protected:
  /// A dense model; copies with noise in block 1 while attention rests; another expert there, on other sequences.
  launch::Recipe three(const std::string& folder) {
    launch::Recipe recipe = recipe_in(folder, "float64");
    recipe.moe.layers = "none";
    recipe.train.stages = "dense, mixed, grown";
    recipe.checkpoint.keep = 20;
    recipe.stages = {{"dense", {{"train.length", "\"3u\""}, {"train.frozen", "\"*.feed_forward.gate.weight\""}}},
                     {"mixed",
                      {{"train.length", "\"4u\""},
                       {"train.frozen", "\"*.attention.*\""},
                       {"optimizer.learning_rate", "0.002"},
                       {"surgery.operation", "\"copy\""},
                       {"surgery.copy.layers", "\"1\""},
                       {"surgery.copy.experts", "5"},
                       {"surgery.copy.noise", "0.02"}}},
                     {"grown",
                      {{"train.length", "\"3u\""},
                       {"data.sequence_length", "12"},
                       {"moe.losses.router_z", "\"0.01 from 1u\""},
                       {"surgery.operation", "\"grow\""},
                       {"surgery.grow.experts", "1"}}}};
    return recipe;
  }
  /// Then of the six experts those three that held-out text uses most when it begins.
  launch::Recipe four(const std::string& folder) {
    launch::Recipe recipe = three(folder);
    recipe.train.stages += ", pruned";
    recipe.stages.push_back({"pruned",
                             {{"train.length", "\"2u\""},
                              {"surgery.operation", "\"prune\""},
                              {"surgery.prune.by", "\"use\""},
                              {"surgery.prune.use", "\"seam\""},
                              {"surgery.prune.kept", "3"}}});
    return recipe;
  }
  static optim::ScheduleConfig steady() {
    optim::ScheduleConfig schedule;
    schedule.kind = "constant";
    schedule.warmup = {0, parallel::Unit::kUpdates};
    return schedule;
  }
  /// The same on a layout of its own in each stage.
  static launch::Recipe laid_out(launch::Recipe recipe, const std::vector<Keys>& meshes) {
    if (meshes.size() == 3 && meshes[1].empty()) recipe.mesh.tensor = test_world()->size();  // the run's, inherited
    for (size_t i = 0; i < meshes.size(); ++i) {
      recipe.stages[i].keys.insert(recipe.stages[i].keys.end(), meshes[i].begin(), meshes[i].end());
    }
    return recipe;
  }
  std::vector<std::vector<Keys>> layouts() const {
    const std::string n = std::to_string(world_->size());
    if (world_->size() == 1) return {{}};
    const Keys data{{"mesh.zero", "1"}}, tensor{{"mesh.tensor", n}}, sharded{{"mesh.zero", "2"}};
    const Keys experts =
        world_->size() == 4
            ? Keys{{"mesh.expert", "2"}, {"mesh.expert_tensor", "2"}, {"mesh.experts_by_rank", "[2, 3]"}}
            : Keys{{"mesh.expert", "3"}, {"mesh.experts_by_rank", "[1, 3, 1]"}};
    const Keys more = world_->size() == 4 ? Keys{{"mesh.expert", "2"}, {"mesh.zero", "1"}} : Keys{{"mesh.expert", "3"}};
    return {{data, data, sharded}, {tensor, experts, more}, {{{"mesh.zero", "2"}, {"mesh.tensor", "1"}}, {}, {}}};
  }
  /// Losses by update, and whole parameters of the last checkpoint by name.
  struct Result {
    std::map<int64_t, double> losses;
    std::map<std::string, at::Tensor> parameters;
  };
  static Result result_of(const launch::Recipe& recipe) {
    Result result;
    for (const nlohmann::json& line : metrics_of(recipe)) {
      if (line.at("event") == "step") result.losses[line.at("step")] = line.at("loss").at("total");
    }
    const int64_t update = launch::checkpoint_updates(recipe.run.folder).back();
    const launch::TrainedModel trained = launch::load_trained_model(recipe.run.folder, update, at::kCPU);
    for (const auto& [name, tensor] : launch::named_parameters(*trained.model)) {
      result.parameters[name] = tensor.detach().to(at::kDouble).clone();
    }
    return result;
  }
  void run_alone(const launch::Recipe& recipe) {
    if (world_->rank() == 0) {
      launch::Trainer trainer(recipe, launch::local_groups(), at::kCPU, interrupt_, {});
      EXPECT_EQ(trainer.run(), launch::Trainer::End::kDone);
    }
    parallel::all_ranks(*world_, [] {});
  }
  static void expect_same(const Result& a, const Result& b, double tolerance) {
    ASSERT_EQ(a.losses.size(), b.losses.size());
    for (const auto& [step, loss] : b.losses)
      EXPECT_LE(relative_difference(a.losses.at(step), loss), tolerance) << step;
    ASSERT_EQ(a.parameters.size(), b.parameters.size());
    for (const auto& [name, tensor] : b.parameters) {
      const double scale = std::max(tensor.abs().max().item<double>(), 1e-3);
      EXPECT_LE((a.parameters.at(name) - tensor).abs().max().item<double>(), tolerance * scale) << name;
    }
  }
  void forget_after(const launch::Recipe& recipe, int64_t update) {
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() != 0) return;
      for (const int64_t there : launch::checkpoint_updates(recipe.run.folder)) {
        if (there > update) std::filesystem::remove(launch::checkpoint_path(recipe.run.folder, there));
      }
    });
  }
};

TEST_F(Stages, WithSurgeryBetweenAgreeWithOneRankOnEveryLayout) {
  const launch::Recipe one = three("one");
  run_alone(one);
  size_t number = 0;
  for (const std::vector<Keys>& layout : layouts()) {
    const launch::Recipe recipe = laid_out(three("layout_" + std::to_string(number++)), layout);
    ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
    if (world_->rank() == 0) expect_same(result_of(recipe), result_of(one), 1e-10);
  }
  if (world_->rank() != 0) return;
  const Result result = result_of(one);
  EXPECT_EQ(result.losses.size(), 10u);
  EXPECT_EQ(result.parameters.at("blocks.1.moe.experts.up").size(0), 6);
  std::vector<std::string> names;
  for (const nlohmann::json& line : metrics_of(one)) {
    if (line.at("event") == "stage") names.push_back(line.at("name").get<std::string>() + line.at("step").dump());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"dense0", "mixed3", "grown7"}));
}

TEST_F(Stages, ArePrunedByTheUseThatIsRecordedAtTheirSeam) {
  const launch::Recipe one = four("one_used");
  run_alone(one);
  const launch::Recipe recipe = laid_out(four("spread_used"), layouts().back());
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  const Result whole = world_->rank() == 0 ? result_of(recipe) : Result{};
  if (world_->rank() == 0) {
    EXPECT_EQ(whole.parameters.at("blocks.1.moe.experts.up").size(0), 3);
    expect_same(whole, result_of(one), 1e-10);
  }
  forget_after(recipe, 10);  // the seam
  ASSERT_EQ(run(recipe, /*resume=*/true), launch::Trainer::End::kDone);
  if (world_->rank() == 0) expect_same(result_of(recipe), whole, 0);

  launch::Recipe file = four("file_used"), first = four("first_used");
  for (auto& [key, value] : file.stages.back().keys) {
    if (key == "surgery.prune.use") value = "\"use.h5\"";
  }
  EXPECT_THROW(run(file), parallel::UserError);  // of a model that is not there yet
  first.train.stages = "pruned";
  first.moe.layers = "all", first.train.start = one.run.folder;
  EXPECT_THROW(run(first), parallel::UserError);  // nothing is recorded before the first stage
}

TEST_F(Stages, GoOnFromAnyCheckpointInTheBitsOfTheWholeRun) {
  launch::Recipe recipe = laid_out(three("resumed"), layouts().back());
  recipe.checkpoint.every = {1, parallel::Unit::kUpdates};
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  const Result whole = world_->rank() == 0 ? result_of(recipe) : Result{};
  for (const int64_t update : {9, 7, 5, 3, 2}) {  // 3 and 7 are seams
    forget_after(recipe, update);
    ASSERT_EQ(run(recipe, /*resume=*/true), launch::Trainer::End::kDone);
    if (world_->rank() == 0) expect_same(result_of(recipe), whole, 0);
  }
  // On another layout: as with any resumption, to rounding.
  forget_after(recipe, 5);
  const launch::Recipe other = laid_out(three("resumed"), layouts().front());
  ASSERT_EQ(run(other, /*resume=*/true), launch::Trainer::End::kDone);
  if (world_->rank() == 0) expect_same(result_of(recipe), whole, 1e-10);
  EXPECT_EQ(launch::read_checkpoint_info(launch::checkpoint_path(recipe.run.folder, 10)).stages,
            "dense 0, mixed 3, grown 7");
}

TEST_F(Stages, OfOneRecipeAreThatRecipeInOnePiece) {
  launch::Recipe whole = recipe_in("whole", "float64"), parts = recipe_in("parts", "float64");
  whole.schedule = parts.schedule = steady();
  whole.moe.jitter = parts.moe.jitter = 0.1;
  parts.train.stages = "part, 2 x part";
  parts.train.length = {2, parallel::Unit::kUpdates};
  parts.stages = {{"part", {}}};
  ASSERT_EQ(run(whole), launch::Trainer::End::kDone);
  ASSERT_EQ(run(parts), launch::Trainer::End::kDone);
  if (world_->rank() == 0) expect_same(result_of(parts), result_of(whole), 0);
  const auto info = [](const launch::Recipe& recipe) {
    return launch::read_checkpoint_info(launch::checkpoint_path(recipe.run.folder, 6));
  };
  EXPECT_EQ(info(parts).tokens, info(whole).tokens);
  EXPECT_EQ(info(parts).sequences, info(whole).sequences);
}

/// Weights that thaw have fresh moments, corrected for their own start; the others' go on.
TEST_F(Stages, AWeightThatThawsBeginsAsInARunThatStartsThere) {
  launch::Recipe both = recipe_in("thaw", "float64");
  both.schedule = steady();
  both.train.stages = "first, second";
  both.train.length = {3, parallel::Unit::kUpdates};
  both.stages = {
      {"first", {{"train.frozen", "\"*.experts.*\""}}},
      {"second",
       {{"train.frozen", "\"embedding.*, *norm*, *.attention.*, *.router.*\""}, {"data.sequence_length", "12"}}}};
  ASSERT_EQ(run(both), launch::Trainer::End::kDone);
  launch::Recipe started = recipe_in("started", "float64");
  started.schedule = both.schedule;
  started.train.length = both.train.length;
  started.train.frozen = "embedding.*, *norm*, *.attention.*, *.router.*";
  started.train.start = launch::checkpoint_path(both.run.folder, 3);
  started.data.sequence_length = 12;
  ASSERT_EQ(run(started), launch::Trainer::End::kDone);
  if (world_->rank() != 0) return;
  const Result a = result_of(both), b = result_of(started);
  for (const auto& [name, tensor] : b.parameters) EXPECT_TRUE(at::equal(a.parameters.at(name), tensor)) << name;
}

TEST_F(Stages, SurgeryGivesWhatTransformWrites) {
  launch::Recipe recipe = three("surgery");
  recipe.train.stages = "dense, mixed";
  recipe.stages[1].keys.push_back({"optimizer.learning_rate_factors", "\"*: 0\""});  // one update that moves nothing
  recipe.stages[1].keys[0].second = "\"1u\"";
  recipe.schedule = steady();
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  const std::filesystem::path out = folder_.path() / "transformed";
  launch::transform_run({.in = launch::checkpoint_path(recipe.run.folder, 3),
                         .out = out,
                         .operation = "copy",
                         .settings = {"layers=1", "experts=5", "noise=0.02"},
                         .registry = recipe.registry},
                        *world_);
  // Before the first stage, on what the run starts from.
  launch::Recipe first = three("surgery_first");
  first.stages = recipe.stages;
  first.schedule = steady();
  first.train.stages = "mixed";
  first.train.start = launch::checkpoint_path(recipe.run.folder, 3);
  ASSERT_EQ(run(first), launch::Trainer::End::kDone);
  if (world_->rank() != 0) return;
  const launch::TrainedModel there = launch::load_trained_model(out, 0, at::kCPU);
  const Result here = result_of(recipe), at_once = result_of(first);
  ASSERT_EQ(here.parameters.size(), there.model->named_parameters().size());
  for (const auto& [name, tensor] : launch::named_parameters(*there.model)) {
    EXPECT_TRUE(at::equal(here.parameters.at(name), tensor.detach())) << name;
    EXPECT_TRUE(at::equal(at_once.parameters.at(name), tensor.detach())) << name;
  }
  EXPECT_EQ(launch::load_trained_model(recipe.run.folder, 3, at::kCPU).recipe.moe.layers, "none") << "as of that stage";
  EXPECT_EQ(there.recipe.moe.experts, 5);
}

TEST_F(Stages, ARunningMeanOfWeightsGoesOnToo) {
  launch::Recipe recipe = three("averaged");
  recipe.optimizer.average = 0.9;
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  launch::Recipe cut = three("averaged_cut");
  cut.optimizer.average = 0.9;
  ASSERT_EQ(run(cut), launch::Trainer::End::kDone);
  forget_after(cut, 7);
  ASSERT_EQ(run(cut, /*resume=*/true), launch::Trainer::End::kDone);
  if (world_->rank() == 0) expect_same(result_of(cut), result_of(recipe), 0);
}

TEST_F(Stages, MayBeAddedBehindThoseThatHaveBegunAndNotBefore) {
  launch::Recipe recipe = three("longer");
  recipe.train.stages = "dense, mixed";
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  launch::Recipe swapped = recipe;
  swapped.train.stages = "dense, grown";
  EXPECT_THROW(run(swapped, /*resume=*/true), parallel::UserError);
  const std::vector<int64_t> saved = launch::checkpoint_updates(recipe.run.folder);
  swapped = recipe;
  swapped.stages.push_back({.name = "plain", .keys = {{"train.length", "\"3u\""}}});
  swapped.train.stages = "dense, plain";
  EXPECT_THROW(run(swapped, /*resume=*/true), parallel::UserError);
  EXPECT_EQ(launch::checkpoint_updates(recipe.run.folder), saved) << "what was saved of other stages stays";
  launch::Recipe without = recipe;
  without.train.stages.clear();
  without.stages.clear();
  EXPECT_THROW(run(without, /*resume=*/true), parallel::UserError);
  launch::Recipe thawed = recipe;
  thawed.stages[1].keys.erase(thawed.stages[1].keys.begin() + 1);  // what it froze
  EXPECT_THROW(run(thawed, /*resume=*/true), parallel::UserError);
  recipe.train.stages = "dense, mixed, grown";
  ASSERT_EQ(run(recipe, /*resume=*/true), launch::Trainer::End::kDone);
  const launch::Recipe whole = three("longer_whole");
  ASSERT_EQ(run(whole), launch::Trainer::End::kDone);
  if (world_->rank() == 0) expect_same(result_of(recipe), result_of(whole), 0);
}

TEST_F(Stages, DataThatIsNotThereForALaterOneIsMissedBeforeTheFirst) {
  launch::Recipe recipe = three("data");
  recipe.stages[2].keys.push_back({"data.file", "\"nowhere.h5\""});
  try {
    run(recipe);
    FAIL() << "it began";
  } catch (const parallel::ReportedElsewhere&) {
  } catch (const parallel::UserError& error) {
    EXPECT_EQ(std::string(error.what()).find("stage 3 of 3, grown: nowhere.h5"), 0u) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(recipe.run.folder));
}

}  // namespace
