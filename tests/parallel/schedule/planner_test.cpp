#include "parallel/schedule/planner.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/schedule/schedules.h"
#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::Direction;
using parallel::ExpertBackward;
using parallel::GradientRelease;
using parallel::Plan;
using parallel::PlanOptions;
using parallel::StepModel;

StepModel model_of(const parallel::TestBed& bed, const std::vector<parallel::FsmoeLayer>& shapes) {
  StepModel model{.lines = fsmoe_lines(bed),
                  .head_forward_seconds = 1e-3,
                  .head_backward_seconds = 2e-3,
                  .head_gradient_bytes = 5'000'001};
  for (const parallel::FsmoeLayer& shape : shapes) model.layers.push_back(fsmoe_load(bed, shape));
  return model;
}

const std::vector<parallel::FsmoeLayer> kShapes = {
    {.sequences = 1, .length = 512, .width = 2048, .hidden = 8192, .matrices = 3},
    {.sequences = 4, .length = 1024, .width = 1024, .hidden = 4096},
    {.sequences = 1, .length = 256, .width = 1600, .hidden = 6400}};

TEST(Planned, PiecesCostTheMultiprocessorsThatTheyLeaveToExchanges) {
  const parallel::Line exchange{.alpha = 1e-6, .beta = 1e-9}, experts{.alpha = 1e-6, .beta = 1e-12};
  StepModel model{.lines = {.all_to_all = exchange,
                            .all_reduce = exchange,
                            .expert_forward = experts,
                            .expert_input_gradient = experts,
                            .expert_weight_gradient = experts}};
  model.layers.assign(3, {.all_to_all_bytes = 1e6, .multiply_adds = 1e9, .matrices = 3});  // a millisecond of each
  const auto chunks = [&] {
    int64_t all = 0;
    for (const parallel::LayerPlan& layer : parallel::planned(model, {}).layers) {
      all += layer.forward_chunks + layer.backward_chunks;
    }
    return all;
  };
  const parallel::LayerLoad& load = model.layers[0];
  const auto seconds = [&](int64_t pieces) {
    return chunk_times(model.lines, load, Direction::kForward, ExpertBackward::kTwoTasks, pieces).experts;
  };
  const int64_t without = chunks();
  const double whole = seconds(1), half = seconds(2);
  EXPECT_GE(without, 12);  // in several
  model.lines.carve_out = 0.5;
  EXPECT_EQ(seconds(1), whole);
  EXPECT_NEAR(seconds(2) - static_cast<double>(load.matrices) * model.lines.expert_forward.alpha,
              2 * (half - static_cast<double>(load.matrices) * model.lines.expert_forward.alpha), 1e-12);
  model.lines.carve_out = 0.99;
  EXPECT_EQ(chunks(), 6);  // where nearly all is left to exchanges, all in one
}

TEST(Planned, IsNoSlowerThanAnyOther) {
  for (const parallel::TestBed& bed : {parallel::fsmoe_a(), parallel::fsmoe_b()}) {
    for (const ExpertBackward experts : {ExpertBackward::kOneTask, ExpertBackward::kTwoTasks}) {
      const PlanOptions options{.experts = experts};
      const StepModel model = model_of(bed, kShapes);
      const auto schedules = parallel::builtin_schedules();
      const double ours = predicted(model, schedules.at("planned")(model, options), options).seconds;
      for (const std::string& name : schedules.names()) {
        const Plan plan = schedules.at(name)(model, options);
        EXPECT_EQ(plan.name, name);
        EXPECT_LE(ours, predicted(model, plan, options).seconds * (1 + 1e-8)) << name << " on test bed " << bed.name;
      }
      const double sequential = predicted(model, schedules.at("sequential")(model, options), options).seconds;
      EXPECT_LT(ours, 0.9 * sequential);
    }
  }
}

/// The simulated step is what the dynamic program adds up: parts one after another.
TEST(Predicted, IsTheSumOfItsParts) {
  const PlanOptions options;
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  for (const char* name : {"planned", "fsmoe_no_split"}) {
    const Plan plan = parallel::builtin_schedules().at(name)(model, options);
    const parallel::Lanes lanes{.one_link = plan.one_link};
    const auto pass = backward_pass(model, lanes, options);
    parallel::Slices slices;
    double sum = model.head_forward_seconds + model.head_backward_seconds;
    for (size_t i = model.layers.size(); i-- > 0;) {
      slices.moe_bytes.push_back(plan.layers[i].moe_gradient_bytes);
      slices.dense_bytes.push_back(plan.layers[i].dense_gradient_bytes);
      const auto forward = chunk_options(model.lines, model.layers[i], Direction::kForward, lanes, options);
      sum += parallel::BackwardLayer{.options = forward}.fastest(0).seconds + model.layers[i].dense_forward_seconds;
    }
    sum += cost_of(pass, slices).seconds;
    EXPECT_NEAR(predicted(model, plan, options).seconds, sum, 1e-9 * sum) << name;
  }
}

/// Two layers without dense parts, by hand: a = 1, inputs 2, weights 30. Backward returns a layer's weight gradients
/// with the rest, so what is behind it begins after them.
TEST(Predicted, ALayerEndsWithItsWeightGradients) {
  StepModel model{.lines = {.all_to_all = {.alpha = 1},
                            .all_reduce = {.alpha = 1},
                            .expert_forward = {.alpha = 1},
                            .expert_input_gradient = {.alpha = 2},
                            .expert_weight_gradient = {.alpha = 30}}};
  model.layers.assign(2, {.all_to_all_bytes = 1, .multiply_adds = 1, .matrices = 1});
  model.head_gradient_bytes = 8;
  Plan plan{.overlap = true, .release = GradientRelease::kPlanned, .layers = std::vector<parallel::LayerPlan>(2)};
  plan.layers[1].dense_gradient_bytes = 8;
  const parallel::Timeline timeline = predicted(model, plan, {});
  for (size_t i = 0; i < timeline.tasks.size(); ++i) {
    // Forward: 2 x 3; backward of layer 1: dispatch 1, inputs 2, weights 30.
    const bool gradient = timeline.tasks[i].kind == parallel::TaskKind::kGradient;
    EXPECT_TRUE(!gradient || timeline.times[i].begin == 6 + 33) << timeline.times[i].begin;
  }
  EXPECT_EQ(timeline.seconds, 6 + 33 + 1 + 33) << "the gradient's second delays layer 0's dispatch";
}

TEST(Predicted, SendsEveryGradientOnce) {
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  double there = static_cast<double>(model.head_gradient_bytes);
  for (const parallel::LayerLoad& load : model.layers) there += static_cast<double>(load.dense_gradient_bytes);
  for (const int64_t slice : {int64_t{0}, int64_t{1'000'000}}) {
    const PlanOptions options{.slice_bytes = slice};
    for (const std::string& name : parallel::builtin_schedules().names()) {
      double sent = 0;
      for (const parallel::Task& task :
           step_tasks(model, parallel::builtin_schedules().at(name)(model, options), options.experts)) {
        if (task.kind != parallel::TaskKind::kGradient) continue;
        sent += task.bytes;
        EXPECT_TRUE(slice == 0 || name == "lina" || task.bytes <= static_cast<double>(slice)) << name;
      }
      EXPECT_EQ(sent, there) << name;
    }
  }
}

/// Latency alone: more chunks are more of it, and there is no gap to fill.
TEST(Planned, WithoutAGainEverythingIsInOneChunk) {
  StepModel model{.lines = {.all_to_all = {.alpha = 1e-3}, .expert_forward = {.alpha = 1e-6}}};
  model.layers.assign(3, {.all_to_all_bytes = 1000, .multiply_adds = 1000});
  Plan plan = planned(model, {});
  EXPECT_EQ(plan.layers, std::vector<parallel::LayerPlan>(3));
  // Neither exchanges nor rows at all.
  model.layers.assign(2, {});
  plan = planned(model, {});
  EXPECT_EQ(plan.layers, std::vector<parallel::LayerPlan>(2));
  EXPECT_EQ(predicted(model, plan, {}).seconds, 0);
  model.layers.clear();
  EXPECT_TRUE(planned(model, {}).layers.empty());
}

/// One byte a second, one second a message: layer 1's gradients are complete when its dense part has ended.
TEST(Predicted, ReadyGradientsGoWhenASliceIsFull) {
  StepModel model{.lines = {.all_to_all = {.alpha = 1}, .all_reduce = {.alpha = 1, .beta = 1}}};
  model.layers.assign(3, {.all_to_all_bytes = 1, .dense_backward_seconds = 10, .dense_gradient_bytes = 4});
  const auto begins = [&](int64_t slice_bytes) {
    const Plan plan{.overlap = true, .release = GradientRelease::kWhenReady, .slice_bytes = slice_bytes};
    const parallel::Timeline timeline = predicted(model, plan, {});
    std::vector<std::pair<double, double>> all;  // begin, bytes
    for (size_t i = 0; i < timeline.tasks.size(); ++i) {
      if (timeline.tasks[i].kind != parallel::TaskKind::kGradient) continue;
      all.emplace_back(timeline.times[i].begin, timeline.tasks[i].bytes);
    }
    return all;
  };
  using Begins = std::vector<std::pair<double, double>>;
  // Forward 3 x 2; backward of a layer 2 + 10. Gradients delay the next dispatch by their 5 s.
  EXPECT_EQ(begins(0), (Begins{{18, 4}, {35, 4}, {52, 4}}));
  EXPECT_EQ(begins(8), (Begins{{30, 8}, {51, 4}})) << "8 bytes are there after two layers";
  EXPECT_EQ(begins(100), (Begins{{42, 12}})) << "never full: at the end";
}

TEST(Predicted, WithoutOverlapTasksAddUp) {
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  for (const ExpertBackward experts : {ExpertBackward::kOneTask, ExpertBackward::kTwoTasks}) {
    const PlanOptions options{.experts = experts};
    const Plan plan = parallel::builtin_schedules().at("sequential")(model, options);
    double sum = 0;
    for (const parallel::Task& task : step_tasks(model, plan, experts)) sum += task.seconds;
    EXPECT_NEAR(predicted(model, plan, options).seconds, sum, 1e-9 * sum);
  }
}

/// Forward loses by chunks, backward gains by them: the shared number is best for both together.
TEST(Schedules, TutelsChunksAreBestForBothDirections) {
  StepModel model{.lines = {.all_to_all = {.alpha = 0.1, .beta = 1},
                            .expert_forward = {.alpha = 1e-3},
                            .expert_input_gradient = {.beta = 4},
                            .expert_weight_gradient = {.beta = 4}}};
  model.layers = {{.all_to_all_bytes = 4, .multiply_adds = 1}};
  Plan plan = parallel::builtin_schedules().at("tutel")(model, {});
  const int64_t chosen = plan.layers.at(0).forward_chunks;
  const double seconds = predicted(model, plan, {}).seconds;
  EXPECT_GT(chosen, 1);
  for (int64_t chunks = 1; chunks <= 16; ++chunks) {
    plan.layers[0] = {.forward_chunks = chunks, .backward_chunks = chunks};
    EXPECT_GE(predicted(model, plan, {}).seconds, seconds * (1 - 1e-8)) << chunks;
  }
}

TEST(Planned, ALittleGainMayBeTooLittle) {
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  for (const parallel::LayerPlan& layer : planned(model, {.least_gain = 0.9}).layers) {
    EXPECT_EQ(layer.forward_chunks, 1);
    EXPECT_EQ(layer.backward_chunks, 1);
  }
}

TEST(Schedules, ALittleGainOfTheStepMayBeTooLittle) {
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  const auto planned = parallel::builtin_schedules().at("planned");
  const Plan sequential = parallel::builtin_schedules().at("sequential")(model, {}), best = planned(model, {});
  const double gain = 1 - predicted(model, best, {}).seconds / predicted(model, sequential, {}).seconds;
  EXPECT_GT(gain, 0.1);
  EXPECT_EQ(planned(model, {.least_step_gain = 0.99 * gain}), best);
  Plan plain = planned(model, {.least_step_gain = 1.01 * gain});
  EXPECT_EQ(plain.name, "planned");
  plain.name = sequential.name;
  EXPECT_EQ(plain, sequential);
}

TEST(Planned, GoldenLayerInFiveChunksForwardFourBackward) {
  const StepModel model = model_of(parallel::fsmoe_b(), {kShapes[1]});
  const Plan plan = planned(model, {.experts = ExpertBackward::kOneTask});
  EXPECT_EQ(plan.layers.at(0).forward_chunks, 5);
  EXPECT_EQ(plan.layers.at(0).backward_chunks, 4);
  const Plan fsmoe = parallel::builtin_schedules().at("fsmoe")(model, {});
  EXPECT_EQ(fsmoe.layers.at(0).forward_chunks, 4) << "a power of two";
  EXPECT_EQ(fsmoe.layers.at(0).backward_chunks, 4);
}

TEST(Schedules, AreWhatTheyAreCalled) {
  const auto schedules = parallel::builtin_schedules();
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  const auto plan = [&](const char* name) { return schedules.at(name)(model, {}); };
  EXPECT_FALSE(plan("sequential").overlap);
  EXPECT_EQ(plan("sequential").release, GradientRelease::kAfterBackward);
  for (const parallel::LayerPlan& layer : plan("tutel").layers) EXPECT_EQ(layer.forward_chunks, layer.backward_chunks);
  EXPECT_EQ(plan("tutel").release, GradientRelease::kAfterBackward);
  EXPECT_EQ(plan("tutel_improved").layers.at(2).dense_gradient_bytes, model.head_gradient_bytes);
  EXPECT_EQ(plan("tutel_improved").layers.at(0).dense_gradient_bytes, model.layers[1].dense_gradient_bytes);
  EXPECT_EQ(plan("lina").slice_bytes, 30'000'000);
  EXPECT_TRUE(plan("fsmoe_no_split").one_link);
  EXPECT_FALSE(plan("fsmoe").one_link);
  EXPECT_THROW(schedules.at("fmoe"), parallel::UserError);
}

TEST(StepTasks, APlanForAnotherModelIsAFault) {
  const StepModel model = model_of(parallel::fsmoe_b(), kShapes);
  Plan plan = planned(model, {});
  plan.layers.back().moe_gradient_bytes += model.head_gradient_bytes + 1;
  EXPECT_THROW(step_tasks(model, plan, ExpertBackward::kOneTask), parallel::InternalError) << "more than there is";
  plan.layers.pop_back();
  EXPECT_THROW(step_tasks(model, plan, ExpertBackward::kOneTask), parallel::InternalError) << "a layer too few";
}

}  // namespace
