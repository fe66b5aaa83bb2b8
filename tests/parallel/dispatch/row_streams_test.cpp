#include "parallel/dispatch/row_streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

namespace parallel {
namespace {

/// (source, expert, number among the source's rows for this expert), row by row.
using Row = std::tuple<int64_t, int64_t, int64_t>;

std::vector<Row> rows_of(const std::vector<RowBlock>& blocks) {
  std::vector<Row> rows;
  for (const RowBlock& block : blocks) {
    for (int64_t i = 0; i < block.rows; ++i) rows.emplace_back(block.source, block.expert, block.first + i);
  }
  return rows;
}

std::vector<Row> of_source(std::vector<Row> rows, int64_t source) {
  std::erase_if(rows, [&](const Row& row) { return std::get<0>(row) != source; });
  return rows;
}

std::vector<std::vector<int64_t>> random_rows(std::mt19937& generator, int64_t sources, int64_t experts) {
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(sources),
                                         std::vector<int64_t>(static_cast<size_t>(experts)));
  for (auto& of_source : rows) {
    for (int64_t& count : of_source) count = generator() % 3 == 0 ? 0 : generator() % 90;
  }
  return rows;
}

TEST(RowStreams, OwnBlocksAreThoseOfAllThatAreOwn) {
  std::mt19937 generator(3);
  const ExpertMap maps[] = {{{7}}, {{1, 1}}, {{4, 0, 3}}, {{2, 40, 5, 1}}};
  for (const ExpertMap& map : maps) {
    const auto ranks = static_cast<int64_t>(map.counts.size());
    const int64_t sources = 2 * ranks;  // as where mesh.expert_tensor = 2
    const std::vector<std::vector<int64_t>> rows_BE = random_rows(generator, sources, map.experts());
    for (int64_t own = 0; own < sources; ++own) {
      const RowStreams streams(rows_BE, map, own);
      for (int64_t x = 0; x < ranks; ++x) {
        const int64_t rows = streams.rows(x);
        const std::vector<Row> whole = rows_of(streams.blocks(x, 0, rows));
        ASSERT_EQ(static_cast<int64_t>(whole.size()), rows);
        for (int64_t chunks : {1, 2, 5, 13}) {
          std::vector<Row> all, mine;
          for (int64_t c = 0; c < chunks; ++c) {
            const int64_t begin = rows * c / chunks, end = rows * (c + 1) / chunks;
            for (const Row& row : rows_of(streams.blocks(x, begin, end))) all.push_back(row);
            for (const Row& row : rows_of(streams.own_blocks(x, begin, end))) mine.push_back(row);
            ASSERT_EQ(static_cast<int64_t>(all.size()), end) << "a window that is not filled";
          }
          ASSERT_EQ(all, whole);
          ASSERT_EQ(mine, of_source(whole, own)) << "rank " << own << ", stream " << x << ", " << chunks << " chunks";
        }
      }
    }
  }
}

TEST(RowStreams, EachRowTravelsOnceAndEachPartHasItsShareOfEverySource) {
  const ExpertMap map{{2, 2}};
  const std::vector<std::vector<int64_t>> rows_BE = {{64, 32, 16, 0}, {128, 64, 0, 80}};
  const RowStreams streams(rows_BE, map, 0);
  for (int64_t x = 0; x < 2; ++x) {
    std::vector<Row> rows = rows_of(streams.blocks(x, 0, streams.rows(x)));
    EXPECT_EQ(std::get<1>(rows.front()), map.first(x));
    std::sort(rows.begin(), rows.end());
    std::vector<Row> expected;
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t e = map.first(x); e < map.first(x) + 2; ++e) {
        for (int64_t i = 0; i < rows_BE[static_cast<size_t>(b)][static_cast<size_t>(e)]; ++i)
          expected.emplace_back(b, e, i);
      }
    }
    EXPECT_EQ(rows, expected);
  }
  // Sixteen parts of expert 0: 4 rows of source 0 and 8 of source 1 in each.
  const std::vector<Row> part = rows_of(streams.blocks(0, 5 * 12, 6 * 12));
  EXPECT_EQ(of_source(part, 0), (std::vector<Row>{{0, 0, 20}, {0, 0, 21}, {0, 0, 22}, {0, 0, 23}}));
  EXPECT_EQ(of_source(part, 1).size(), 8u);
  EXPECT_EQ(streams.first_own_row(1), 64);
}

}  // namespace
}  // namespace parallel
