#include <gtest/gtest.h>

#include <cmath>

#include "optim/schedules/warmup_stable_decay.h"
#include "parallel/base/fault.h"

namespace optim {
namespace {

constexpr parallel::SpanScale kScale{.tokens_per_update = 100, .tokens_per_epoch = 1000};

Schedule schedule_of(const std::string& kind, int64_t warmup, int64_t length, int64_t decay = 0,
                     double final_scale = 0.1) {
  ScheduleConfig config{.kind = kind, .warmup = {warmup, parallel::Unit::kUpdates}, .final_scale = final_scale};
  config.own<WarmupStableDecayConfig>().decay = {decay, parallel::Unit::kUpdates};
  return resolve(config, builtin_schedules().at(kind), length, kScale);
}

double at_update(const Schedule& schedule, int64_t update) { return learning_rate_scale(schedule, update); }

TEST(Schedule, SpansBecomeUpdates) {
  ScheduleConfig config{.warmup = {250, parallel::Unit::kTokens}, .final_scale = 0};
  config.own<WarmupStableDecayConfig>().decay = {2, parallel::Unit::kEpochs};
  const Schedule schedule = resolve(config, warmup_stable_decay_rule(), 70, kScale);
  EXPECT_EQ(schedule.warmup, 3);
  EXPECT_DOUBLE_EQ(at_update(schedule, 50), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 51), 0.95) << "the last 20 of 70 updates";
}

TEST(Schedule, UnknownKindIsTheUsersFault) { EXPECT_THROW(schedule_of("cosinus", 1, 10), parallel::UserError); }

TEST(Schedule, EveryKindWarmsUpFromOneShareToTheWhole) {
  for (const char* kind : {"cosine", "inverse_sqrt", "warmup_stable_decay", "constant"}) {
    const Schedule schedule = schedule_of(kind, 4, 100);
    EXPECT_DOUBLE_EQ(at_update(schedule, 0), 0.25) << kind;
    EXPECT_DOUBLE_EQ(at_update(schedule, 2), 0.75) << kind;
    EXPECT_DOUBLE_EQ(at_update(schedule, 3), 1.0) << kind;
  }
}

TEST(Schedule, EveryKindStartsWholeWithoutWarmup) {
  for (const char* kind : {"cosine", "inverse_sqrt", "warmup_stable_decay", "constant"}) {
    EXPECT_DOUBLE_EQ(at_update(schedule_of(kind, 0, 100), 0), 1.0) << kind;
  }
}

TEST(Schedule, CosineFallsFromTheWholeToItsFinalScale) {
  const Schedule schedule = schedule_of("cosine", 20, 120);
  EXPECT_DOUBLE_EQ(at_update(schedule, 20), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 70), 0.55);                                    // half way: (1 + 0.1) / 2
  EXPECT_NEAR(at_update(schedule, 45), 0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2, 1e-15);  // a quarter: cos(pi / 4)
  EXPECT_NEAR(at_update(schedule, 119), 0.1 + 0.45 * (1 + std::cos(std::acos(-1.0) * 0.99)), 1e-15);
  EXPECT_DOUBLE_EQ(at_update(schedule, 120), 0.1);
  EXPECT_DOUBLE_EQ(at_update(schedule, 500), 0.1);  // past the end it stays
}

TEST(Schedule, CosineWhoseWarmupFillsTheRun) {
  const Schedule schedule = schedule_of("cosine", 10, 10);
  EXPECT_DOUBLE_EQ(at_update(schedule, 9), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 10), 0.1);
}

TEST(Schedule, InverseSqrtGoesOnFromTheWarmup) {
  const Schedule schedule = schedule_of("inverse_sqrt", 100, 1000);
  EXPECT_DOUBLE_EQ(at_update(schedule, 100), std::sqrt(100.0 / 101.0));
  EXPECT_DOUBLE_EQ(at_update(schedule, 399), 0.5);
  EXPECT_DOUBLE_EQ(at_update(schedule, 9999), 0.1);
  EXPECT_DOUBLE_EQ(at_update(schedule_of("inverse_sqrt", 0, 10), 3), 0.5);
}

TEST(Schedule, WarmupStableDecayFallsInItsLastUpdates) {
  const Schedule schedule = schedule_of("warmup_stable_decay", 10, 100, 20, 0.2);
  EXPECT_DOUBLE_EQ(at_update(schedule, 10), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 79), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 80), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 90), 0.6);
  EXPECT_DOUBLE_EQ(at_update(schedule, 99), 1 - 0.8 * 19 / 20);
  EXPECT_DOUBLE_EQ(at_update(schedule, 100), 0.2);
  EXPECT_DOUBLE_EQ(at_update(schedule, 300), 0.2);
}

TEST(Schedule, DecayLongerThanTheRunBeginsAfterTheWarmup) {
  const Schedule schedule = schedule_of("warmup_stable_decay", 10, 30, 100, 0.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 9), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule, 20), 0.5);
}

TEST(Schedule, StableWithoutDecayAndConstantStayWhole) {
  EXPECT_DOUBLE_EQ(at_update(schedule_of("warmup_stable_decay", 10, 100), 99), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule_of("constant", 10, 100), 99), 1.0);
  EXPECT_DOUBLE_EQ(at_update(schedule_of("constant", 10, 100), 1000), 1.0);
}

}  // namespace
}  // namespace optim
