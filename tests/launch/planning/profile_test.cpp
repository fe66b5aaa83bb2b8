#include "launch/profiles/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "launch/profiles/profile_plan.h"
#include "launch/recipe/overlap_config.h"
#include "parallel/base/fault.h"
#include "parallel/schedule/schedules.h"

namespace {

using launch::Profile;
using launch::profile_from_json;
using launch::profile_of;
using nlohmann::json;
using parallel::Direction;
using parallel::TaskKind;
using parallel::TracePoint;

// ---- The file. ----

Profile of_two_calls() {
  Profile profile{.machine = "a <machine>", .layer_of_call = {1, 0}, .seconds = 0.25};
  int64_t number = 0;
  const auto next = [&] { return 0.0101 * static_cast<double>(++number); };
  auto& lines = profile.model.lines;
  for (parallel::Line* line : {&lines.all_to_all, &lines.all_gather, &lines.reduce_scatter, &lines.all_reduce,
                               &lines.expert_forward, &lines.expert_input_gradient, &lines.expert_weight_gradient}) {
    *line = {.alpha = next(), .beta = next(), .r2 = -next()};
  }
  for (int64_t i = 0; i < 2; ++i) {
    profile.model.layers.push_back({.all_to_all_bytes = next(),
                                    .all_gather_bytes = next(),
                                    .reduce_scatter_bytes = next(),
                                    .multiply_adds = next(),
                                    .matrices = 3 + i,
                                    .dense_forward_seconds = next(),
                                    .dense_backward_seconds = next(),
                                    .dense_gradient_bytes = 100 + i});
  }
  profile.model.head_forward_seconds = next();
  profile.model.head_backward_seconds = next();
  profile.model.head_gradient_bytes = 7;
  profile.model.contention = {.compute = 0.125, .link = 0.5};
  profile.model.carve_out = 6;
  profile.model.lines.carve_out = 0.0625;
  return profile;
}

TEST(ProfileFile, ComesBackAsItWas) {
  const auto text = profile_to_json(of_two_calls()).dump();
  const Profile back = profile_from_json(json::parse(text), "profile.json");
  EXPECT_EQ(profile_to_json(back).dump(), text);
  EXPECT_EQ(back.machine, "a <machine>");
  EXPECT_EQ(back.layer_of_call, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(back.model.carve_out, 6);
  EXPECT_EQ(back.model.lines.carve_out, 0.0625);
  EXPECT_EQ(back.model.lines.expert_weight_gradient.r2, of_two_calls().model.lines.expert_weight_gradient.r2);
  EXPECT_EQ(back.model.layers.at(1).dense_backward_seconds, of_two_calls().model.layers.at(1).dense_backward_seconds);
  EXPECT_EQ(back.model.layers.at(1).matrices, 4);
  EXPECT_EQ(back.model.head_gradient_bytes, 7);
  EXPECT_EQ(back.model.contention.compute, 0.125);
  EXPECT_EQ(back.model.contention.link, 0.5);
  // Every number is there, under a name of its own.
  const json file = json::parse(text);
  std::vector<double> numbers;
  const std::function<void(const json&)> collect = [&](const json& value) {
    if (value.is_number()) numbers.push_back(value.get<double>());
    if (value.is_structured()) std::ranges::for_each(value, collect);
  };
  collect(file);
  std::ranges::sort(numbers);
  EXPECT_EQ(numbers.size(), 1u + 2 + 3 * 7 + 2 * 9 + 3 + 2);
  EXPECT_EQ(std::ranges::adjacent_find(numbers), numbers.end());
}

std::string profile_error(const std::function<void(json&)>& change) {
  json file = json::parse(profile_to_json(of_two_calls()).dump());
  change(file);
  try {
    profile_from_json(file, "profile.json");
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "none";
}

TEST(ProfileFile, NonsenseIsRefusedWithPlaceValueAndWhatIsLegal) {
  EXPECT_EQ(profile_error([](json&) {}), "none");
  EXPECT_EQ(profile_error([](json& file) { file = json::array(); }), "profile.json: [] is no object with keys");
  EXPECT_EQ(profile_error([](json& file) { file["second"] = 1; }).substr(0, 61),
            "profile.json: unknown key \"second\", is 'seconds' meant? (know");
  EXPECT_EQ(profile_error([](json& file) { file["lines"]["all_reduce"]["beta"] = -1.5; }),
            "profile.json: lines: all_reduce: beta = -1.5 is not legal; it must be a number, at least 0");
  EXPECT_EQ(profile_error([](json& file) { file["lines"]["all_reduce"]["gamma"] = 1; }),
            "profile.json: lines: all_reduce: unknown key \"gamma\" (known: alpha, beta, r2)");
  EXPECT_NE(profile_error([](json& file) { file["lines"]["one_to_one"] = 1; }).find("unknown key"), std::string::npos);
  EXPECT_EQ(profile_error([](json& file) { file["layers"] = 3; }),
            "profile.json: layers = 3 is not legal; it must be a list of layers");
  EXPECT_EQ(profile_error([](json& file) { file["layers"][1]["layer"] = -1; }),
            "profile.json: layers[1]: layer = -1 is not legal; it must be a whole number, at least 0");
  EXPECT_NE(profile_error([](json& file) { file["layers"][0]["dense_gradient_bytes"] = 0.5; }).find("a whole number"),
            std::string::npos);
  for (const json& number : {json("1"), json(nullptr), json(true), json(std::numeric_limits<double>::infinity())}) {
    EXPECT_EQ(profile_error([&](json& file) { file["seconds"] = number; }),
              "profile.json: seconds = " + number.dump() + " is not legal; it must be a number, at least 0");
  }
}

// ---- A traced step. ----

TracePoint time_at(int64_t milliseconds) { return TracePoint() + std::chrono::milliseconds(milliseconds); }

/// One layer called twice, then another whose backward is not asked for (a teacher's), as [ms]:
/// forward  5 dense | 5-15 layer 0 | 15-20 dense | 20-30 layer 0 | 30-32 dense | 32-36 layer 1 | 36-40 head
/// backward 40-43 head | 43-53 layer 0 | 53-60 dense | 60-70 layer 0 | 70-75 dense, and 9 ms until sums are there
parallel::Trace two_calls_and_a_teacher() {
  parallel::Trace trace;
  const auto call = [&](Direction direction, int64_t layer, int64_t t, int64_t length) {
    const bool forward = direction == Direction::kForward;
    trace.tasks.push_back({TaskKind::kDispatch, direction, layer, 0, 1000, 0, time_at(t), time_at(t + 1)});
    trace.tasks.push_back({TaskKind::kAllGather, direction, layer, 0, 300, 0, time_at(t + 1), time_at(t + 2)});
    trace.tasks.push_back({forward ? TaskKind::kExperts : TaskKind::kInputGradient, direction, layer, 0, 0, 50 + layer,
                           time_at(t + 2), time_at(t + length - 1)});
    trace.tasks.push_back(
        {TaskKind::kReduceScatter, direction, layer, 0, 200, 0, time_at(t + length - 1), time_at(t + length)});
    trace.tasks.push_back({TaskKind::kCombine, direction, layer, 0, layer == 1 ? 1500 : 700, 0, time_at(t + length),
                           time_at(t + length)});
  };
  // A micro-batch before it, which counts for nothing.
  trace.phases.push_back({time_at(-100), time_at(-60), time_at(-20)});
  call(Direction::kForward, 0, -95, 10);
  trace.ready.push_back({time_at(-30), 1 << 20});
  trace.phases.push_back({time_at(0), time_at(40), time_at(75)});
  call(Direction::kForward, 0, 5, 10);
  call(Direction::kForward, 0, 20, 10);
  call(Direction::kForward, 1, 32, 4);
  trace.ready.push_back({time_at(42), 64});
  call(Direction::kBackward, 0, 43, 10);
  trace.ready.push_back({time_at(55), 128});
  trace.tasks.push_back({TaskKind::kGradient, Direction::kBackward, -1, 0, 128, 0, time_at(56), time_at(58)});
  call(Direction::kBackward, 0, 60, 10);
  trace.ready.push_back({time_at(65), 256});
  trace.ready.push_back({time_at(74), 512});
  trace.reduced = time_at(84);
  return trace;
}

TEST(ProfileOf, EachCallIsALayerWithTheDensePartBeforeIt) {
  const Profile profile =
      profile_of(two_calls_and_a_teacher(), {{.multiply_adds_of_row = 10, .matrices = 3}, {.multiply_adds_of_row = 4}});
  EXPECT_EQ(profile.layer_of_call, (std::vector<int64_t>{0, 0, 1}));
  EXPECT_NEAR(profile.seconds, 0.084, 1e-12);
  ASSERT_EQ(profile.model.layers.size(), 3u);
  const auto& layers = profile.model.layers;
  EXPECT_EQ(layers[0].all_to_all_bytes, 1000);
  EXPECT_EQ(layers[2].all_to_all_bytes, 1500) << "it got more than it handed in";
  EXPECT_EQ(layers[0].all_gather_bytes, 300);
  EXPECT_EQ(layers[0].reduce_scatter_bytes, 200);
  EXPECT_EQ(layers[0].multiply_adds, 500);
  EXPECT_EQ(layers[0].matrices, 3);
  EXPECT_EQ(layers[2].multiply_adds, 4 * 51);
  EXPECT_NEAR(layers[0].dense_forward_seconds, 0.005, 1e-12);
  EXPECT_NEAR(layers[1].dense_forward_seconds, 0.005, 1e-12);
  EXPECT_NEAR(layers[2].dense_forward_seconds, 0.002, 1e-12);
  EXPECT_NEAR(profile.model.head_forward_seconds, 0.004, 1e-12);
  EXPECT_NEAR(profile.model.head_backward_seconds, 0.003, 1e-12);
  EXPECT_NEAR(layers[1].dense_backward_seconds, 0.007, 1e-12);
  EXPECT_NEAR(layers[0].dense_backward_seconds, 0.005, 1e-12);
  EXPECT_EQ(layers[2].dense_backward_seconds, 0) << "it has no backward";
}

TEST(ProfileOf, GradientsBelongToTheDensePartThatCompletesThem) {
  const Profile profile = profile_of(two_calls_and_a_teacher(), {{}, {}});
  EXPECT_EQ(profile.model.head_gradient_bytes, 64);
  EXPECT_EQ(profile.model.layers[1].dense_gradient_bytes, 128 + 256) << "what comes up in a call is the part's before";
  EXPECT_EQ(profile.model.layers[0].dense_gradient_bytes, 512);
  EXPECT_EQ(profile.model.layers[2].dense_gradient_bytes, 0);
}

TEST(ProfileOf, WhatALayerDoesBesideItsTasksCountsAsDense) {
  parallel::Trace trace;
  trace.phases.push_back({time_at(0), time_at(20), time_at(30)});
  trace.tasks.push_back({TaskKind::kDispatch, Direction::kForward, 0, 0, 8, 0, time_at(5), time_at(6)});
  trace.tasks.push_back({TaskKind::kExperts, Direction::kForward, 0, 0, 0, 2, time_at(8), time_at(10)});
  trace.reduced = time_at(30);
  const Profile profile = profile_of(trace, {{}});
  EXPECT_NEAR(profile.model.layers.at(0).dense_forward_seconds, 0.007, 1e-12);
  EXPECT_NEAR(profile.model.head_backward_seconds, 0.010, 1e-12) << "a step without a backward of experts";
}

TEST(ProfileOf, ATraceWithoutAStepIsOurFault) { EXPECT_THROW(profile_of({}, {}), parallel::InternalError); }

// ---- Plans of a profile. ----

/// Two passes through two layers; gradients come up in the second half of backward only.
Profile two_passes() {
  Profile profile{.layer_of_call = {0, 1, 0, 1}};
  profile.model.lines.all_to_all = {.alpha = 1e-5, .beta = 1e-8};
  profile.model.lines.all_reduce = {.alpha = 1e-5, .beta = 1e-8};
  profile.model.lines.expert_forward = profile.model.lines.expert_input_gradient =
      profile.model.lines.expert_weight_gradient = {.alpha = 1e-6, .beta = 1e-10};
  for (int64_t call = 0; call < 4; ++call) {
    profile.model.layers.push_back({.all_to_all_bytes = 1e6,
                                    .multiply_adds = 1e8,
                                    .dense_forward_seconds = 0.01,
                                    .dense_backward_seconds = 0.02,
                                    .dense_gradient_bytes = call < 2 ? 1'000'000 : 0});
  }
  return profile;
}

TEST(ProfilePlan, ALayerCalledTwiceReleasesWhatBothCallsWould) {
  const Profile profile = two_passes();
  for (const std::string& name : parallel::builtin_schedules().names()) {
    const parallel::Plan by_call = parallel::builtin_schedules().at(name)(profile.model, {});
    const parallel::Plan plan = plan_of(name, profile, 2);
    EXPECT_EQ(plan.name, name);
    int64_t released = 0, of_calls = 0;
    for (const auto& layer : by_call.layers) of_calls += layer.moe_gradient_bytes + layer.dense_gradient_bytes;
    for (const auto& layer : plan.layers) released += layer.moe_gradient_bytes + layer.dense_gradient_bytes;
    EXPECT_EQ(released, of_calls) << name;
    EXPECT_TRUE(plan.layers.empty() || plan.layers.size() == 2u) << name;
    const double seconds = predicted(profile, plan).seconds;
    EXPECT_NEAR(seconds, parallel::predicted(profile.model, by_call, {}).seconds, 0.02 * seconds) << name;
  }
}

TEST(ProfilePlan, ReleasingMoreThanHasComeUpIsNoFault) {
  parallel::Plan greedy = launch::plan_of("planned", two_passes(), 2);
  for (auto& layer : greedy.layers) layer.dense_gradient_bytes = int64_t{1} << 40;
  EXPECT_GT(predicted(two_passes(), greedy).seconds, 0);
}

TEST(ProfilePlan, AProfileOfMoreLayersIsRefused) {
  try {
    launch::plan_of("planned", two_passes(), 1);
    FAIL() << "taken";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(error.what(),
                 "the profile calls expert layer 1, and this model has 1; legal: a profile of this model");
  }
}

TEST(ProfilePlan, ContentionIsWhatAStepInPiecesTookLonger) {
  Profile profile = two_passes();
  const parallel::Plan pieces{.overlap = true, .layers = {2, {.forward_chunks = 4, .backward_chunks = 4}}};
  const auto takes = [&](double share) {
    profile.model.contention = {.compute = share, .link = share};
    return predicted(profile, pieces).seconds;
  };
  for (const double share : {0.05, 0.3, 0.9}) {
    const double seconds = takes(share);
    profile.model.contention = {.compute = 0.7, .link = 0};  // is not looked at
    EXPECT_NEAR(launch::contention_of(profile, pieces, seconds), share, 2e-3);
  }
  EXPECT_EQ(launch::contention_of(profile, pieces, 0.9 * takes(0)), 0) << "faster than without";
  EXPECT_EQ(launch::contention_of(profile, pieces, 1.1 * takes(1)), 1) << "no more is believed";
}

// ---- The recipe's key. ----

TEST(OverlapConfig, NamesEveryScheduleThereIs) {
  std::vector<std::string> legal = launch::OverlapConfig().schedule.names();
  std::vector<std::string> known = parallel::builtin_schedules().names();
  known.insert(known.end(), {"eager", "chunked"});
  std::ranges::sort(known);
  std::ranges::sort(legal);
  EXPECT_EQ(legal, known);
}

}  // namespace
