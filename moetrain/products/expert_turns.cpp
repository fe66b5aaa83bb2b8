#include "moetrain/products/expert_turns.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>

#include "parallel/device/host_tensor.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/kernels/threads.h"

namespace moetrain {
namespace {

using parallel::RowsPerExpert;
using Turns = std::vector<ExpertTurn>;

/// Whether threads share out rows: where each has some to compute with. Of fewer they share each product.
bool in_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts) {
  constexpr int64_t kRowsOfThread = 64;
  const int64_t threads = parallel::threads_at_hand();
  return parallel::has_loops(rows_RX) && (threads == 1 || counts.rows() >= kRowsOfThread * threads);
}

ExpertTurn turn_of_all(const at::Tensor& rows_RX, const RowsPerExpert& counts) {
  return {.expert = 0, .experts = counts.experts(), .row = 0, .rows = rows_RX.size(0), .counts = counts};
}

ExpertTurn turn_of(int64_t expert, int64_t row, int64_t rows) {
  return {.expert = expert, .experts = 1, .row = row, .rows = rows, .counts = std::vector{rows}};
}

/// Of each thread, all with as many rows but for whole blocks of them.
std::vector<Turns> row_turns(const RowsPerExpert& counts, int64_t threads) {
  constexpr int64_t kBlock = 16;  // a cut inside of one would leave kernels that run half empty
  std::vector<Turns> turns(static_cast<size_t>(threads));
  parallel::for_each_expert(counts, [&](int64_t expert, int64_t first, int64_t rows) {
    const auto cut = [&](int64_t thread) {
      const int64_t inside = std::clamp<int64_t>(counts.rows() * thread / threads - first, 0, rows);
      return inside == rows ? rows : std::min(rows, (inside + kBlock / 2) / kBlock * kBlock);
    };
    for (int64_t thread = 0; thread < threads; ++thread) {
      const int64_t begin = cut(thread), end = cut(thread + 1);
      if (begin < end) turns[static_cast<size_t>(thread)].push_back(turn_of(expert, first + begin, end - begin));
    }
  });
  return turns;
}

/// An expert is the thread's in whose share of the rows its middle lies. Nothing where one has too many.
std::vector<Turns> expert_turns(const RowsPerExpert& counts, int64_t threads) {
  constexpr double kMostOfEven = 1.25;
  std::vector<Turns> turns(static_cast<size_t>(threads));
  std::vector<int64_t> rows_of(turns.size());
  int64_t row = 0, expert = 0;
  for (const int64_t rows : counts.on_host()) {
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

/// take(the turns of a thread)
template <class Take>
void share_out(const std::vector<Turns>& turns, const Take& take) {
  parallel::for_each_part(std::ssize(turns), [&](int64_t thread) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    take(turns[static_cast<size_t>(thread)]);
  });
}

}  // namespace

void in_row_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts, int64_t width,
                  const std::function<void(const ExpertTurn& turn, at::Tensor room_SF)>& action) {
  const auto take = [&](const Turns& turns) {
    int64_t most = 0;
    for (const ExpertTurn& turn : turns) most = std::max(most, turn.rows);
    const at::Tensor room_SF = at::empty({most, width}, rows_RX.options());
    for (const ExpertTurn& turn : turns) action(turn, room_SF.narrow(0, 0, turn.rows));
  };
  if (!in_turns(rows_RX, counts)) return take({turn_of_all(rows_RX, counts)});
  share_out(row_turns(counts, parallel::threads_at_hand()), take);
}

void in_expert_turns(const at::Tensor& rows_RX, const RowsPerExpert& counts,
                     const std::function<void(const ExpertTurn& turn)>& action) {
  const std::vector<Turns> turns =
      in_turns(rows_RX, counts) ? expert_turns(counts, parallel::threads_at_hand()) : std::vector<Turns>();
  if (turns.empty()) return action(turn_of_all(rows_RX, counts));
  share_out(turns, [&](const Turns& own) {
    for (const ExpertTurn& turn : own) action(turn);
  });
}

}  // namespace moetrain
