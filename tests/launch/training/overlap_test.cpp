// Which plan a run follows, and what of it is found again.
#include "launch/training/overlap.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/profiles/plan_file.h"
#include "launch/profiles/trace_file.h"
#include "launch/training/trainer.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

using launch::Overlap;
using launch::Trainer;
using nlohmann::json;

class OverlapTest : public testing::Test {
 protected:
  OverlapTest() {
    for (int64_t i = 0; i < kLayers; ++i) groups_.mesh->schedule()->add_layer();
    on_first([&] { std::filesystem::create_directories(run_.path); });
  }

  void on_first(const std::function<void()>& action) {
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) action();
    });
  }

  Overlap overlap(const launch::OverlapConfig& config, const std::string& machine = "this one") {
    return {config, run_, groups_, machine};
  }

  /// A costly wire and gradients, so that plans have something to do.
  static launch::Profile profile() {
    launch::Profile profile{.machine = "this one", .layer_of_call = {0, 1}, .seconds = 1};
    profile.model.lines.all_to_all = profile.model.lines.all_reduce = {.alpha = 1e-6, .beta = 1e-8};
    profile.model.lines.expert_forward = profile.model.lines.expert_input_gradient =
        profile.model.lines.expert_weight_gradient = {.alpha = 1e-7, .beta = 1e-10};
    for (int64_t i = 0; i < kLayers; ++i) {
      profile.model.layers.push_back({.all_to_all_bytes = 1e6,
                                      .multiply_adds = 1e8,
                                      .dense_forward_seconds = 0.01,
                                      .dense_backward_seconds = 0.02,
                                      .dense_gradient_bytes = 1000});
    }
    return profile;
  }

  /// What it says on the way to asking for a profile; nullopt: it asks for none.
  static std::optional<std::string> asks(Overlap& overlap) {
    std::string said;
    const bool wants = overlap.wants_profile([&](const std::string& text) { said += text; });
    return wants ? std::optional(said) : std::nullopt;
  }

  const parallel::Plan& followed() const { return groups_.mesh->schedule()->plan(); }

  /// What every rank refuses with; one of them says it.
  std::string refusal(const std::function<void()>& action) {
    std::string text;
    try {
      action();
    } catch (const parallel::ReportedElsewhere&) {
    } catch (const parallel::UserError& error) {
      text = error.what();
    }
    std::string all;
    for (const std::string& each : parallel::gather_texts(*world_, text)) all += each;
    return all;
  }

  static constexpr int64_t kLayers = 2;
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"overlap", *world_};
  launch::RunFolder run_{folder_.path() / "run"};
  launch::Groups groups_ = test_groups();
};

TEST_F(OverlapTest, SchedulesWithoutAProfileAskForNone) {
  Overlap eager = overlap({.schedule = "eager"});
  EXPECT_EQ(asks(eager), std::nullopt);
  eager.use_stored();
  EXPECT_EQ(followed(), parallel::Plan{.name = "eager"});
  EXPECT_FALSE(eager.predicted().has_value());
  Overlap chunked = overlap({.schedule = "chunked", .forward_chunks = 3, .backward_chunks = 5});
  EXPECT_EQ(asks(chunked), std::nullopt);
  chunked.use_stored();
  EXPECT_TRUE(followed().overlap);
  EXPECT_EQ(followed().layers, std::vector<parallel::LayerPlan>(2, {.forward_chunks = 3, .backward_chunks = 5}));
}

TEST_F(OverlapTest, AStoredPlanIsFollowedWithoutMeasuring) {
  Overlap first = overlap({.schedule = "planned"});
  EXPECT_EQ(asks(first), "") << "nothing is stored";
  first.use(profile());
  const parallel::Plan plan = followed();
  EXPECT_EQ(plan.name, "planned");
  EXPECT_GT(plan.layers.at(0).forward_chunks, 1);
  ASSERT_TRUE(first.predicted().has_value());
  const double seconds = first.predicted()->seconds;
  // What is stored is followed, also where a new plan would be another.
  parallel::Plan changed = plan;
  changed.layers[0].forward_chunks = 7;
  on_first([&] { launch::write_plan_file(run_.plan(), changed); });
  Overlap second = overlap({.schedule = "planned"});
  EXPECT_EQ(asks(second), std::nullopt);
  second.use_stored();
  EXPECT_EQ(followed(), changed);
  EXPECT_NE(second.predicted()->seconds, seconds);
  // A profile without its plan makes that again.
  on_first([&] { std::filesystem::remove(run_.plan()); });
  Overlap third = overlap({.schedule = "planned"});
  EXPECT_EQ(asks(third), std::nullopt);
  third.use_stored();
  EXPECT_EQ(followed(), plan);
}

TEST_F(OverlapTest, AnotherScheduleIsMadeFromTheStoredProfile) {
  overlap({.schedule = "planned"}).use(profile());
  Overlap second = overlap({.schedule = "sequential"});
  EXPECT_EQ(asks(second), std::nullopt);
  second.use_stored();
  EXPECT_EQ(followed().name, "sequential");
  EXPECT_FALSE(followed().overlap);
  parallel::all_ranks(*world_, [&] { EXPECT_EQ(launch::read_plan_file(run_.plan()), followed()); });
}

TEST_F(OverlapTest, AProfileOfAnotherMachineIsNoticedAndMeasuredAnew) {
  overlap({.schedule = "planned"}).use(profile());
  Overlap elsewhere = overlap({.schedule = "planned"}, "another one");
  const std::optional<std::string> said = asks(elsewhere);
  ASSERT_TRUE(said.has_value());
  EXPECT_NE(said->find("is of another machine or layout (this one); measured anew for: another one"), std::string::npos)
      << *said;
  EXPECT_FALSE(elsewhere.profile().has_value());
}

TEST_F(OverlapTest, APlanOfAnotherModelIsRefused) {
  const std::string file = folder_.path() / "by_hand.json";
  on_first([&] { launch::write_plan_file(file, {.name = "by hand", .layers = std::vector<parallel::LayerPlan>(3)}); });
  Overlap named = overlap({.plan = file});
  EXPECT_EQ(asks(named), std::nullopt);
  EXPECT_EQ(refusal([&] { named.use_stored(); }),
            "overlap.plan = \"" + file +
                "\" is of 3 expert layers, and this model has 2; legal: a plan of as many, or one without layers");
  overlap({.schedule = "planned"}).use(profile());
  on_first([&] {
    launch::write_plan_file(run_.plan(), {.name = "planned", .layers = std::vector<parallel::LayerPlan>(1)});
  });
  Overlap stored = overlap({.schedule = "planned"});
  EXPECT_EQ(asks(stored), std::nullopt);
  EXPECT_EQ(refusal([&] { stored.use_stored(); }),
            run_.plan().string() +
                " is of 1 expert layers, and this model has 2; legal: a plan of as many, or one without layers");
  on_first([&] { launch::write_plan_file(file, {.name = "whole"}); });
  overlap({.plan = file}).use_stored();
  EXPECT_EQ(followed().name, "whole") << "a plan without layers fits any model";
}

TEST_F(OverlapTest, AProfileOfAnotherModelOrTornIsRefused) {
  launch::Profile larger = profile();
  larger.layer_of_call = {0, 2};
  Overlap first = overlap({.schedule = "planned"});
  EXPECT_NE(refusal([&] { first.use(larger); }).find("calls expert layer 2, and this model has 2"), std::string::npos);
  on_first([&] { std::ofstream(run_.profile()) << "{\"machine\": "; });
  Overlap torn = overlap({.schedule = "planned"});
  EXPECT_NE(refusal([&] { asks(torn); }).find("profile.json: not JSON"), std::string::npos);
}

// ---- In a run. ----

TEST_F(OverlapTest, ARunMeasuresOnceAndATraceMovesNoBit) {
  const launch::Interrupt interrupt;
  const std::string corpus = make_tiny_corpus(folder_, *world_);
  const auto run = [&](const std::string& name, int64_t traced, int64_t updates, const std::string& plan = "") {
    launch::Recipe recipe = tiny_recipe(corpus);
    recipe.run.folder = folder_.path() / name;
    recipe.mesh = with_experts({}, recipe, world_->size(), 1);
    recipe.overlap = {.schedule = "planned", .plan = plan, .profile_seconds = 0.5, .trace_update = traced};
    recipe.train.length = {updates, parallel::Unit::kUpdates};
    recipe.train.micro_batches = 2;
    recipe.schedule.kind = "constant";
    Trainer(recipe, test_groups(recipe.mesh), at::kCPU, interrupt, {.resume = updates > 2}).run();
    return launch::RunFolder{recipe.run.folder};
  };
  const auto text = [](const std::filesystem::path& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const launch::RunFolder folder = run("traced", 2, 2);
  const std::string profile = text(folder.profile());
  EXPECT_NE(profile, "");
  const launch::StepRecording recording = launch::read_trace(folder.trace());
  EXPECT_EQ(recording.update, 2);
  ASSERT_EQ(static_cast<int64_t>(recording.ranks.size()), world_->size());
  ASSERT_TRUE(recording.predicted.has_value());
  // Rows that are all here have the weights' gradients made beside theirs, in one task; rows that travel go back first.
  const parallel::TaskKind backward =
      world_->size() > 1 ? parallel::TaskKind::kInputGradient : parallel::TaskKind::kExperts;
  for (const launch::StepTrace& step : recording.ranks) {
    std::map<std::tuple<parallel::TaskKind, parallel::Direction, int64_t>, int64_t> count;
    for (const launch::StepTask& task : step.tasks) ++count[{task.kind, task.direction, task.layer}];
    for (const int64_t layer : {0, 1}) {
      EXPECT_GE((count[{parallel::TaskKind::kExperts, parallel::Direction::kForward, layer}]), 2) << "micro-batches";
      EXPECT_GE((count[{backward, parallel::Direction::kBackward, layer}]), 2);
      EXPECT_GE((count[{parallel::TaskKind::kDense, parallel::Direction::kForward, layer}]), 2);
      EXPECT_EQ((count[{parallel::TaskKind::kDispatch, parallel::Direction::kForward, layer}] > 0), world_->size() > 1);
    }
    EXPECT_GT(step.last_begin, 0);
    const launch::StepShares shares = shares_of(step);
    EXPECT_GT(shares.busy[0], 0);
    EXPECT_LE(shares.busy[0] + shares.exposed, shares.seconds + 1e-6);
    EXPECT_EQ(shares.busy[2] > 0, world_->size() > 1);
  }
  std::ifstream metrics(folder.metrics());
  std::vector<json> traces;
  for (std::string line; std::getline(metrics, line);) {
    const json event = json::parse(line);
    if (event.at("event") == "trace") traces.push_back(event);
  }
  ASSERT_EQ(traces.size(), 1u);
  EXPECT_EQ(traces[0].at("step"), 2);
  EXPECT_EQ(traces[0].at("ranks").size(), recording.ranks.size());
  EXPECT_NEAR(traces[0].at("ranks")[0].at("seconds"), shares_of(recording.ranks[0]).seconds, 1e-6);
  EXPECT_GT(traces[0].at("predicted").at("seconds"), 0);

  parallel::all_ranks(*world_, [] {});  // all have read
  run("traced", 0, 4);
  EXPECT_EQ(text(folder.profile()), profile) << "the stored profile is kept";
  // The same plan without a trace: the same bits.
  const auto losses = [&](const launch::RunFolder& of) {
    std::vector<json> all;
    std::ifstream file(of.metrics());
    for (std::string line; std::getline(file, line);) {
      const json event = json::parse(line);
      if (event.at("event") == "step" && event.at("step") <= 2) all.push_back(event.at("loss"));
    }
    return all;
  };
  const launch::RunFolder plain = run("plain", 0, 2, folder.plan());
  EXPECT_EQ(losses(plain).size(), 2u);
  EXPECT_EQ(losses(plain), losses(folder));
}

}  // namespace
