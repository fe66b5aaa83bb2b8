#include "parallel/base/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

using Words = std::array<uint32_t, 4>;

constexpr int64_t kDraws = 200000;

/// The mean of value(i) over kDraws indices.
template <class Value>
double mean_of_draws(Value&& value) {
  double sum = 0;
  for (int64_t i = 0; i < kDraws; ++i) sum += value(i);
  return sum / static_cast<double>(kDraws);
}

std::vector<int64_t> permutation_of(const RandomStream& stream, int64_t size) {
  std::vector<int64_t> image;
  for (int64_t i = 0; i < size; ++i) image.push_back(permuted_index(stream, i, size));
  return image;
}

// The vectors that the authors of Philox publish with Random123 (kat_vectors).
TEST(Philox, PublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(HashName, IsFnv1a) {
  EXPECT_EQ(hash_name(""), 0xcbf29ce484222325u);
  EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8u);
}

TEST(RandomStream, SamePartsGiveSameDraws) {
  const RandomStream one(7, "dropout", 3, 11), other(7, "dropout", 3, 11);
  for (const int64_t index : {int64_t{0}, int64_t{1}, int64_t{1} << 40}) EXPECT_EQ(one.bits(index), other.bits(index));
}

TEST(RandomStream, EveryPartOfTheKeyCounts) {
  const std::vector<RandomStream> streams{RandomStream(7, "dropout", 3, 11),
                                          RandomStream(8, "dropout", 3, 11),
                                          RandomStream(7, "noise", 3, 11),
                                          RandomStream(7, "dropout", 11, 3),
                                          RandomStream(7, "dropout", 3, 12),
                                          RandomStream(7 + (uint64_t{1} << 32), "dropout", 3, 11),
                                          RandomStream(7, "dropout", 3 + (int64_t{1} << 32), 11),
                                          RandomStream(7, "dropout", 3, 11 + (int64_t{1} << 32))};
  std::set<uint64_t> draws;
  for (const RandomStream& stream : streams) {
    for (const int64_t index : {int64_t{0}, int64_t{1}, int64_t{1} << 32}) draws.insert(stream.bits(index));
  }
  EXPECT_EQ(draws.size(), 3 * streams.size());
}

TEST(RandomStream, UniformHasTheMomentsOfTheUnitInterval) {
  const RandomStream stream(1, "uniform");
  const double error = 4.0 / std::sqrt(static_cast<double>(kDraws));  // 4 standard errors of a draw of spread 1
  double lowest = 1, highest = 0;
  const double mean = mean_of_draws([&](int64_t i) {
    lowest = std::min(lowest, stream.uniform(i));
    highest = std::max(highest, stream.uniform(i));
    return stream.uniform(i);
  });
  EXPECT_NEAR(mean, 0.5, error * std::sqrt(1.0 / 12));
  EXPECT_NEAR(mean_of_draws([&](int64_t i) { return std::pow(stream.uniform(i), 2); }), 1.0 / 3, error * 0.3);
  EXPECT_NEAR(mean_of_draws([&](int64_t i) { return stream.uniform(i) * stream.uniform(i + 1); }), 0.25, error * 0.3);
  EXPECT_GE(lowest, 0.0);
  EXPECT_LT(lowest, 1e-4);
  EXPECT_LT(highest, 1.0);
  EXPECT_GT(highest, 1 - 1e-4);
}

TEST(RandomStream, NormalHasTheMomentsOfTheStandardNormal) {
  const RandomStream stream(1, "normal");
  const auto moment = [&](int power) {
    return mean_of_draws([&](int64_t i) { return std::pow(stream.normal(i), power); });
  };
  const double error = 4.0 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(moment(1), 0, error);
  EXPECT_NEAR(moment(2), 1, error * std::sqrt(2.0));   // variance of z^2
  EXPECT_NEAR(moment(3), 0, error * std::sqrt(15.0));  // of z^3
  EXPECT_NEAR(moment(4), 3, error * std::sqrt(96.0));  // of z^4
  const double within_one = mean_of_draws([&](int64_t i) { return std::abs(stream.normal(i)) < 1 ? 1.0 : 0.0; });
  EXPECT_NEAR(within_one, std::erf(1 / std::sqrt(2.0)), error * 0.5);
}

TEST(RandomStream, BelowIsUniformOverItsBound) {
  const RandomStream stream(1, "below");
  std::array<int64_t, 7> count{};
  for (int64_t i = 0; i < kDraws; ++i) {
    const int64_t value = stream.below(i, 7);
    ASSERT_TRUE(0 <= value && value < 7) << value;
    ++count[static_cast<size_t>(value)];
  }
  const double expected = static_cast<double>(kDraws) / 7;
  double chi_square = 0;
  for (const int64_t n : count) chi_square += std::pow(static_cast<double>(n) - expected, 2) / expected;
  EXPECT_LT(chi_square, 22.5);  // 99.9 % of six degrees of freedom
  EXPECT_EQ(stream.below(3, 1), 0);
  EXPECT_THROW(stream.below(0, 0), InternalError);
}

// Word i is piece i % 8 of a block whose first half bits(i / 8) gives; the second half is held by the test after this.
TEST(RandomStream, Words16AreThePiecesOfTheBlocks) {
  const RandomStream stream(7, "dropout", 3, 11);
  std::vector<uint16_t> words(8 * 300);
  stream.words16(0, words);
  for (int64_t block = 0; block < 300; ++block) {
    uint64_t first_half = 0;
    for (int64_t piece = 3; piece >= 0; --piece) {
      first_half = (first_half << 16) | words[static_cast<size_t>(block * 8 + piece)];
    }
    EXPECT_EQ(first_half, stream.bits(block)) << block;
  }
}

TEST(RandomStream, Words16AreTheSameForAnySplit) {
  const RandomStream stream(7, "dropout");
  const auto drawn = [&](int64_t first, size_t count) {
    std::vector<uint16_t> words(count);
    stream.words16(first, words);
    return words;
  };
  for (const int64_t origin : {int64_t{0}, (int64_t{1} << 35) - 64, (int64_t{1} << 60)}) {  // counters pass 2^32 blocks
    const std::vector<uint16_t> whole = drawn(origin, 1000);
    for (const size_t first : {0, 1, 7, 8, 9, 127, 128, 129, 500, 999, 1000}) {
      for (const size_t count : {0, 1, 3, 8, 120, 128, 129, 257}) {
        if (first + count > whole.size()) continue;
        const auto begin = whole.begin() + static_cast<int64_t>(first);
        EXPECT_EQ(drawn(origin + static_cast<int64_t>(first), count),
                  std::vector<uint16_t>(begin, begin + static_cast<int64_t>(count)))
            << origin << " + " << first << ", " << count;
      }
    }
  }
  EXPECT_THROW(drawn(-1, 1), InternalError);
}

TEST(RandomStream, Words16AreUniform) {
  const RandomStream stream(1, "words");
  std::vector<uint16_t> words(static_cast<size_t>(kDraws));
  stream.words16(5, words);
  std::array<int64_t, 16> high{}, low{};
  for (const uint16_t word : words) ++high[word >> 12], ++low[word & 15];
  const double expected = static_cast<double>(kDraws) / 16;
  for (const auto& count : {high, low}) {
    double chi_square = 0;
    for (const int64_t n : count) chi_square += std::pow(static_cast<double>(n) - expected, 2) / expected;
    EXPECT_LT(chi_square, 37.7);  // 99.9 % of fifteen degrees of freedom
  }
}

TEST(PermutedIndex, IsAPermutationOfEverySize) {
  const RandomStream stream(5, "order");
  for (const int64_t size : {1, 2, 3, 7, 64, 1000}) {
    const std::vector<int64_t> image = permutation_of(stream, size);
    const std::set<int64_t> distinct(image.begin(), image.end());
    EXPECT_EQ(static_cast<int64_t>(distinct.size()), size);
    EXPECT_EQ(*distinct.begin(), 0);
    EXPECT_EQ(*distinct.rbegin(), size - 1);
  }
}

TEST(PermutedIndex, DiffersByEpochAndFromTheIdentity) {
  std::vector<int64_t> identity;
  for (int64_t i = 0; i < 1000; ++i) identity.push_back(i);
  const auto epoch = [](int64_t number) { return permutation_of(RandomStream(5, "order", 0, number), 1000); };
  const std::vector<int64_t> first = epoch(0);
  EXPECT_EQ(first, epoch(0));
  EXPECT_NE(first, epoch(1));
  EXPECT_NE(first, identity);
  // Two random permutations agree in one place on average; eight places have a probability of 1e-5.
  int64_t fixed = 0, common = 0;
  const std::vector<int64_t> second = epoch(1);
  for (size_t i = 0; i < first.size(); ++i) {
    fixed += first[i] == identity[i] ? 1 : 0;
    common += first[i] == second[i] ? 1 : 0;
  }
  EXPECT_LT(fixed, 8);
  EXPECT_LT(common, 8);
}

TEST(PermutedIndex, ReachesEveryOrderOfThree) {
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 200; ++epoch) orders.insert(permutation_of(RandomStream(5, "order", 0, epoch), 3));
  EXPECT_EQ(orders.size(), 6u);
}

TEST(PermutedIndex, TakesSizesOfACorpusAndRefusesIndicesOutside) {
  const RandomStream stream(5, "order");
  const int64_t size = (int64_t{1} << 41) + 12345;
  for (const int64_t index : {int64_t{0}, size / 2, size - 1}) {
    const int64_t image = permuted_index(stream, index, size);
    EXPECT_TRUE(0 <= image && image < size) << image;
  }
  EXPECT_THROW(permuted_index(stream, size, size), InternalError);
  EXPECT_THROW(permuted_index(stream, -1, size), InternalError);
}

}  // namespace
}  // namespace parallel
