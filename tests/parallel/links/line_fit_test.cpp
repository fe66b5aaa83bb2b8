#include "parallel/links/line_fit.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace {

using parallel::fit_line;
using parallel::Line;
using parallel::Sample;

constexpr double kAlpha = 20e-6, kBeta = 0.5e-9;  // 20 us, 2 GB/s

std::vector<Sample> exact() {
  std::vector<Sample> samples;
  for (const int64_t bytes : {8, 64, 512, 4096, 32768, 262144, 1048576, 4194304}) {
    samples.push_back({bytes, kAlpha + kBeta * static_cast<double>(bytes)});
  }
  return samples;
}

TEST(FitLine, FindsAKnownLine) {
  const Line line = fit_line(exact());
  EXPECT_NEAR(line.alpha, kAlpha, 1e-3 * kAlpha);
  EXPECT_NEAR(line.beta, kBeta, 1e-3 * kBeta);
  EXPECT_NEAR(line.bytes_per_second(), 2e9, 2e6);
  EXPECT_GT(line.r2, 0.9999);
}

TEST(FitLine, ABusyMomentMovesItLittle) {
  for (const size_t outlier : {size_t{0}, size_t{3}, size_t{7}}) {
    std::vector<Sample> samples = exact();
    samples[outlier].seconds *= 10;
    const Line line = fit_line(samples);
    EXPECT_NEAR(line.alpha, kAlpha, 0.1 * kAlpha) << outlier;
    EXPECT_NEAR(line.beta, kBeta, 0.1 * kBeta) << outlier;
    EXPECT_LT(line.r2, 0.99) << "an outlier is not hidden";
  }
}

TEST(FitLine, NoiseOfATenthIsATenth) {
  std::vector<Sample> samples = exact();
  for (size_t i = 0; i < samples.size(); ++i) samples[i].seconds *= i % 2 == 0 ? 1.1 : 0.9;
  const Line line = fit_line(samples);
  EXPECT_NEAR(line.alpha, kAlpha, 0.12 * kAlpha);
  EXPECT_NEAR(line.beta, kBeta, 0.12 * kBeta);
}

TEST(FitLine, NothingIsNegative) {
  const Line falling = fit_line({{8, 2e-5}, {4096, 1e-5}});
  EXPECT_GE(falling.alpha, 0);
  EXPECT_EQ(falling.beta, 0);
  const Line steep = fit_line({{1000, 1e-6}, {2000, 4e-6}});
  EXPECT_EQ(steep.alpha, 0);
  EXPECT_GT(steep.beta, 0);
}

TEST(FitRisingLine, ADisturbedFallIsALineFromNothingThroughTheLargest) {
  const Line line = parallel::fit_rising_line({{1000, 4e-5}, {2000, 1e-5}, {4000, 2e-5}});
  EXPECT_EQ(line.alpha, 0);
  EXPECT_DOUBLE_EQ(line.beta, 5e-9);
  const Line rising = parallel::fit_rising_line(exact());
  EXPECT_EQ(rising.alpha, fit_line(exact()).alpha);
  EXPECT_EQ(rising.beta, fit_line(exact()).beta);
}

TEST(FitLine, OneSampleIsNoLine) { EXPECT_THROW(fit_line({{8, 1e-6}}), parallel::InternalError); }

TEST(Median, OfOddAndEvenCounts) {
  EXPECT_EQ(parallel::median({3, 1, 2}), 2);
  EXPECT_EQ(parallel::median({4, 1, 2, 3}), 2.5);
}

}  // namespace
