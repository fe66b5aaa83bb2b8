#include "moetrain/products/expert_turns.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <vector>

#include "tests/support/threads.h"

namespace moetrain {
namespace {

using Counts = std::vector<int64_t>;

class ExpertTurns : public testing::TestWithParam<int> {
 protected:
  /// What turns say, by expert: how many, and rows; and rows of each of them counted once.
  void note(const ExpertTurn& turn, const at::Tensor& touched_R) {
    const std::lock_guard lock(mutex_);
    ++turns_;
    most_rows_ = std::max(most_rows_, turn.rows);
    EXPECT_EQ(turn.counts.experts(), turn.experts);
    turn.of(touched_R).add_(1);
  }

  std::mutex mutex_;
  int64_t turns_ = 0, most_rows_ = 0;

 private:
  const Threads own_{GetParam()};
};

const std::vector<Counts> kLoads = {{100, 100, 100, 100}, {0, 700, 3, 0, 41, 256}, {5, 0, 7}, {1000}, {0, 0}};

int64_t sum(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

TEST_P(ExpertTurns, EveryRowIsInOneTurnOfItsExpert) {
  for (const Counts& counts : kLoads) {
    const at::Tensor rows_RX = at::zeros({sum(counts), 3}), touched_R = at::zeros({sum(counts)});
    const at::Tensor expert_E = at::arange(std::ssize(counts));
    const at::Tensor expert_R = expert_E.repeat_interleave(at::tensor(counts, at::kLong));
    in_row_turns(rows_RX, counts, 7, [&](const ExpertTurn& turn, const at::Tensor& room_SF) {
      note(turn, touched_R);
      EXPECT_EQ(room_SF.sizes(), at::IntArrayRef({turn.rows, 7}));
      const at::Tensor own_R = turn.of(expert_R);
      EXPECT_TRUE((own_R >= turn.expert).logical_and(own_R < turn.expert + turn.experts).all().item<bool>());
    });
    EXPECT_TRUE(touched_R.eq(1).all().item<bool>());
  }
}

TEST_P(ExpertTurns, ThreadsHaveAsManyRowsBesidesABlock) {
  const at::Tensor rows_RX = at::zeros({960, 1}), touched_R = at::zeros({960});
  in_row_turns(rows_RX, Counts{960}, 1, [&](const ExpertTurn& turn, const at::Tensor&) { note(turn, touched_R); });
  EXPECT_EQ(turns_, GetParam());
  EXPECT_LE(most_rows_, 960 / GetParam() + 16);
}

TEST_P(ExpertTurns, FewRowsAreOneTurnOfSeveralThreads) {
  in_row_turns(at::zeros({60, 1}), Counts{30, 0, 30}, 1,
               [&](const ExpertTurn& turn, const at::Tensor&) { EXPECT_EQ(turn.experts, GetParam() == 1 ? 1 : 3); });
}

TEST_P(ExpertTurns, AWholeExpertIsInOneTurn) {
  for (const Counts& counts : kLoads) {
    const at::Tensor rows_RX = at::zeros({sum(counts), 3}), touched_R = at::zeros({sum(counts)}),
                     seen_E = at::zeros({std::ssize(counts)});
    in_expert_turns(rows_RX, counts, [&](const ExpertTurn& turn) {
      note(turn, touched_R);
      turn.weight(seen_E).add_(1);
      EXPECT_EQ(turn.counts.rows(), turn.rows);
    });
    EXPECT_TRUE(touched_R.eq(1).all().item<bool>());
    EXPECT_TRUE(seen_E.eq(1).all().item<bool>());  // those without rows too: their gradients are zeros
  }
}

TEST_P(ExpertTurns, AHotExpertIsEverybodys) {
  int64_t experts = 0;
  in_expert_turns(at::zeros({1000, 1}), Counts{900, 50, 50}, [&](const ExpertTurn& turn) {
    const std::lock_guard lock(mutex_);
    experts = std::max(experts, turn.experts);
  });
  EXPECT_EQ(experts, GetParam() == 1 ? 1 : 3);
}

TEST_P(ExpertTurns, BlocksHoldEveryRowOnceAndAreOfOneSizeButTheLast) {
  for (const Counts& counts : kLoads) {
    const at::Tensor touched_R = at::zeros({sum(counts)});
    for (const Turns& own : row_turns(at::zeros({1, 1}), counts)) {
      for (const ExpertTurn& turn : own) {
        const Turns blocks = in_blocks({turn});
        for (size_t i = 0; i < blocks.size(); ++i) {
          note(blocks[i], touched_R);
          EXPECT_EQ(blocks[i].expert, turn.expert);
          EXPECT_EQ(blocks[i].counts.rows(), blocks[i].rows);
          EXPECT_TRUE(turn.experts > 1 || blocks[i].rows <= kRowsOfBlock);
          if (i + 1 < blocks.size()) {
            EXPECT_EQ(blocks[i].rows % 64, 0);
            EXPECT_EQ(blocks[i].rows, blocks[0].rows);
          }
        }
      }
    }
    EXPECT_TRUE(touched_R.eq(1).all().item<bool>());
  }
  EXPECT_EQ(in_blocks({{.expert = 2, .experts = 1, .row = 5, .rows = 1600, .counts = Counts{1600}}}).size(), 3U);
}

TEST(NeighbourTurns, AreOfABlockOrOfOneExpertThatHasMore) {
  const Turns turns = neighbour_turns(Counts{100, 400, 30, 0, 900, 0, 512, 1, 0});
  std::vector<std::vector<int64_t>> seen;
  for (const ExpertTurn& turn : turns) {
    seen.push_back({turn.expert, turn.experts, turn.row, turn.rows});
    EXPECT_EQ(turn.counts.rows(), turn.rows);
    EXPECT_EQ(turn.counts.experts(), turn.experts);
  }
  const std::vector<std::vector<int64_t>> wanted{{0, 4, 0, 530}, {4, 1, 530, 900}, {5, 4, 1430, 513}};
  EXPECT_EQ(seen, wanted);
  EXPECT_TRUE(neighbour_turns(Counts{}).empty());
}

INSTANTIATE_TEST_SUITE_P(Threads, ExpertTurns, testing::Values(1, 2, 4));

}  // namespace
}  // namespace moetrain
