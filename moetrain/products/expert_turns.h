// Who computes which experts' products, and in which order.
// defines: ExpertTurn, Turns, most_rows, row_turns, expert_turns, neighbour_turns, kRowsOfBlock, in_blocks, take_turns,
// in_row_turns, in_expert_turns
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "parallel/dispatch/rows_per_expert.h"

namespace moetrain {

// On the processor threads share out the experts' rows, and each takes its own experts one by one, so that the next
// product finds in the cache what the one before left there. Elsewhere all experts are one turn.

/// Rows of some experts whose products follow one another.
struct ExpertTurn {
  int64_t expert = 0, experts = 0, row = 0, rows = 0;
  parallel::RowsPerExpert counts;

  /// Of a tensor with a row for each of all experts' rows, and of weights [E, ...].
  at::Tensor of(const at::Tensor& rows_RX) const { return rows_RX.narrow(0, row, rows); }
  at::Tensor weight(const at::Tensor& weight_EMN) const { return weight_EMN.narrow(0, expert, experts); }
};

/// In the order in which one thread takes them.
using Turns = std::vector<ExpertTurn>;
int64_t most_rows(const Turns& turns);  // of one of them; 0 of none

/// Of each thread, for what is computed row by row: all with as many rows but for whole blocks of them, so that an
/// expert's rows may be shared by threads. Of few rows one turn of all, in which threads share each product.
/// rows_RX: any tensor of that kind and place.
std::vector<Turns> row_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts);

/// Of each thread, with all rows of whole experts, those without rows too. Of few rows one turn of all; nothing where
/// one thread would have more than kMostOfEven times its share of them.
constexpr double kMostOfEven = 1.25;
std::vector<Turns> expert_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts);

/// Whole experts as well, for threads that share each product: neighbours that together have no more rows than a block,
/// or one that has more by itself.
Turns neighbour_turns(const parallel::RowsPerExpert& counts);

/// The same rows in blocks of at most so many, so that what is made of one stays in the cache whatever an expert's load
/// is; an expert's all of one size but the last, and that a multiple of what bf16 is multiplied in (multiply_all).
/// So many that experts of 512 rows in the mean, the most that many layers have, are one block each.
constexpr int64_t kRowsOfBlock = 768;
Turns in_blocks(const Turns& turns);

/// take(turns of a thread) for each thread, all at once.
void take_turns(const std::vector<Turns>& turns, const std::function<void(const Turns& own)>& take);

/// action(turn, room [rows of it, width]) in row_turns.
void in_row_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts, int64_t width,
                  const std::function<void(const ExpertTurn& turn, at::Tensor room_SF)>& action);

/// action(turn) in expert_turns; where there are none in one turn of all.
void in_expert_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts,
                     const std::function<void(const ExpertTurn& turn)>& action);

}  // namespace moetrain
