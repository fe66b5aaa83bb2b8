#include "moetrain/products/expert_turns.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>

#include "moetrain/products/product_way.h"
#include "parallel/device/host_tensor.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/kernels/threads.h"

namespace moetrain {
namespace {

using parallel::RowsPerExpert;

/// Whether threads share out rows: where each has some to compute with. Of fewer they share each product.
bool in_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts) {
  constexpr int64_t kRowsOfThread = 64;
  const int64_t threads = parallel::threads_at_hand();
  return parallel::has_loops(rows_RX) && (threads == 1 || counts.rows() >= kRowsOfThread * threads);
}

ExpertTurn turn_of_all(const RowsPerExpert& counts) {
  return {.expert = 0, .experts = counts.experts(), .row = 0, .rows = counts.rows(), .counts = counts};
}

ExpertTurn turn_of(int64_t expert, int64_t row, int64_t rows) {
  return {.expert = expert, .experts = 1, .row = row, .rows = rows, .counts = std::vector{rows}};
}

/// The thread that begins with row `thread` / `threads` of all, but for whole blocks of them.
Turns share_of_rows(const RowsPerExpert& counts, int64_t thread, int64_t threads) {
  constexpr int64_t kBlock = 16;  // a cut inside of one would leave kernels that run half empty
  Turns turns;
  parallel::for_each_expert(counts, [&](int64_t expert, int64_t first, int64_t rows) {
    const auto cut = [&](int64_t part) {
      const int64_t inside = std::clamp<int64_t>(counts.rows() * part / threads - first, 0, rows);
      return inside == rows ? rows : std::min(rows, (inside + kBlock / 2) / kBlock * kBlock);
    };
    const int64_t begin = cut(thread), end = cut(thread + 1);
    if (begin < end) turns.push_back(turn_of(expert, first + begin, end - begin));
  });
  return turns;
}

}  // namespace

int64_t most_rows(const Turns& turns) {
  int64_t most = 0;
  for (const ExpertTurn& turn : turns) most = std::max(most, turn.rows);
  return most;
}

std::vector<Turns> row_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts) {
  if (!in_turns(rows_RX, counts)) return {{turn_of_all(counts)}};
  const int64_t threads = parallel::threads_at_hand();
  std::vector<Turns> turns;
  for (int64_t thread = 0; thread < threads; ++thread) turns.push_back(share_of_rows(counts, thread, threads));
  return turns;
}

std::vector<Turns> expert_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts) {
  if (!in_turns(rows_RX, counts)) return {{turn_of_all(counts)}};
  const int64_t threads = parallel::threads_at_hand();
  std::vector<Turns> turns(static_cast<size_t>(threads));
  std::vector<int64_t> rows_of(turns.size());
  int64_t row = 0, expert = 0;
  for (const int64_t rows : counts.on_host()) {
    // The thread's in whose share of the rows its middle lies.
    const int64_t all = std::max<int64_t>(1, 2 * counts.rows());
    const auto thread = static_cast<size_t>(std::min((2 * row + rows) * threads / all, threads - 1));
    turns[thread].push_back(turn_of(expert++, row, rows));
    rows_of[thread] += rows;
    row += rows;
  }
  const auto most = static_cast<double>(*std::ranges::max_element(rows_of) * threads);
  if (most > kMostOfEven * static_cast<double>(counts.rows())) return {};
  return turns;
}

Turns neighbour_turns(const RowsPerExpert& counts) {
  Turns turns;
  std::vector<int64_t> open;  // rows of the experts that the next turn has so far
  int64_t row = 0, rows_of_open = 0, expert = 0;
  const auto close = [&] {
    if (open.empty()) return;
    const int64_t experts = std::ssize(open);
    turns.push_back({.expert = expert - experts,
                     .experts = experts,
                     .row = row - rows_of_open,
                     .rows = rows_of_open,
                     .counts = open});
    open.clear();
    rows_of_open = 0;
  };
  for (const int64_t rows : counts.on_host()) {
    if (rows_of_open + rows > kRowsOfBlock) close();
    open.push_back(rows);
    rows_of_open += rows;
    row += rows;
    ++expert;
  }
  close();
  return turns;
}

Turns in_blocks(const Turns& turns) {
  static_assert(kRowsOfBlock % kLowBlock == 0);
  Turns blocks;
  for (const ExpertTurn& turn : turns) {
    if (turn.experts != 1) {
      blocks.push_back(turn);  // of few rows
      continue;
    }
    const int64_t count = std::max<int64_t>(1, (turn.rows + kRowsOfBlock - 1) / kRowsOfBlock);
    const int64_t even = (turn.rows + count - 1) / count, size = (even + kLowBlock - 1) / kLowBlock * kLowBlock;
    for (int64_t begin = 0; begin < turn.rows; begin += size) {
      blocks.push_back(turn_of(turn.expert, turn.row + begin, std::min(size, turn.rows - begin)));
    }
  }
  return blocks;
}

void take_turns(const std::vector<Turns>& turns, const std::function<void(const Turns& own)>& take) {
  parallel::for_each_part(std::ssize(turns), [&](int64_t thread) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    take(turns[static_cast<size_t>(thread)]);
  });
}

void in_row_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts, int64_t width,
                  const std::function<void(const ExpertTurn& turn, at::Tensor room_SF)>& action) {
  take_turns(row_turns(rows_RX, counts), [&](const Turns& own) {
    const at::Tensor room_SF = at::empty({most_rows(own), width}, rows_RX.options());
    for (const ExpertTurn& turn : own) action(turn, room_SF.narrow(0, 0, turn.rows));
  });
}

void in_expert_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts,
                     const std::function<void(const ExpertTurn& turn)>& action) {
  std::vector<Turns> turns = expert_turns(rows_RX, counts);
  if (turns.empty()) turns.push_back({turn_of_all(counts)});
  take_turns(turns, [&](const Turns& own) {
    for (const ExpertTurn& turn : own) action(turn);
  });
}

}  // namespace moetrain
