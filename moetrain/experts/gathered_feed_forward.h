// defines: HiddenUnits, GatheredFeedForward: feed-forward experts whose rows are all here, gathered turn by turn
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "moetrain/experts/grouped_gemm.h"
#include "moetrain/fused/activations.h"
#include "moetrain/products/expert_turns.h"
#include "parallel/dispatch/expert_compute.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/dispatch/row_tensors.h"

namespace moetrain {

// R rows of all experts, S of a turn, D width, F hidden units

/// Hidden units of what a row's first products gave: gate and up, or up alone.
struct HiddenUnits {
  void (*value)(at::Tensor& hidden_RF, const parallel::RowTensors& made);
  /// Gradients take the place of what was made.
  void (*again)(parallel::RowTensors& made, const WeightedHidden& all);
};

/// weights: [E, D, F] of each of the first products, down [E, F, D]
class GatheredFeedForward : public parallel::GatheringCompute {
 public:
  explicit GatheredFeedForward(const HiddenUnits& units) : units_(units) {}

  std::vector<int64_t> gathered_widths(const Weights& weights) const override {  // what the first products gave
    return std::vector<int64_t>(weights.size() - 1, hidden_width(weights));
  }

  at::Tensor forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                              const parallel::RowTensors& saved) const override {
    at::Tensor out_RD = all_rows(rows, weights.back().size(2));
    take_turns(row_turns(rows.tokens_TD, rows.rows_per_expert), [&](const Turns& own) {
      const Turns blocks = in_blocks(own);
      const Room row_room(rows, most_rows(blocks)), hidden_room(rows, most_rows(blocks), hidden_width(weights));
      parallel::RowTensors made_rooms;
      if (saved.empty())
        made_rooms = parallel::places(gathered_widths(weights), most_rows(blocks), rows.tokens_TD.options());
      for (const ExpertTurn& turn : blocks) {
        const at::Tensor row_SD = row_room.gathered(rows.tokens_TD, rows, turn);
        at::Tensor hidden_SF = hidden_room.of(turn), out_SD = turn.of(out_RD);
        parallel::RowTensors made = saved.empty() ? parallel::narrowed(made_rooms, 0, turn.rows)
                                                  : parallel::narrowed(saved, turn.row, turn.rows);
        for (size_t i = 0; i < made.size(); ++i) grouped_mm_out(made[i], row_SD, turn.weight(weights[i]), turn.counts);
        units_.value(hidden_SF, made);
        grouped_mm_out(out_SD, hidden_SF, turn.weight(weights.back()), turn.counts);
      }
    });
    return out_RD;
  }

  at::Tensor backward_gathered(const parallel::TokenRows& rows, const parallel::RowTensors& saved,
                               const parallel::WeightedGradients& above, const Weights& weights,
                               const Weights& gradients) const override {
    const Backward all{rows, saved, above, weights, gradients, all_rows(rows, rows.tokens_TD.size(1))};
    const auto by_rows = [&](const at::Tensor& hidden_RF) {
      take_turns(row_turns(rows.tokens_TD, rows.rows_per_expert),
                 [&](const Turns& own) { rows_backward(all, own, hidden_RF); });
    };
    if (gradients.empty()) {
      by_rows({});
    } else if (const auto by_experts = expert_turns(rows.tokens_TD, rows.rows_per_expert); !by_experts.empty()) {
      take_turns(by_experts, [&](const Turns& own) { experts_backward(all, own); });
    } else {  // rows by threads that share experts, then experts by all threads
      const at::Tensor hidden_RF = all_rows(rows, hidden_width(weights));
      by_rows(hidden_RF);
      weights_backward(all, neighbour_turns(rows.rows_per_expert), hidden_RF);
    }
    return all.grad_rows_RD;
  }

 private:
  /// Where a thread has the rows of a turn, [S, width].
  class Room {
   public:
    Room(const parallel::TokenRows& rows, int64_t most, int64_t width)
        : room_SX_(at::empty({most, width}, rows.tokens_TD.options())) {}
    Room(const parallel::TokenRows& rows, int64_t most) : Room(rows, most, rows.tokens_TD.size(1)) {}

    /// Of a block that begins at row `first` of what the room is for.
    at::Tensor of(const ExpertTurn& block, int64_t first = 0) const { return room_SX_.narrow(0, first, block.rows); }
    at::Tensor gathered(const at::Tensor& tokens_TD, const parallel::TokenRows& rows, const ExpertTurn& block,
                        int64_t first = 0) const {
      at::Tensor row_SD = of(block, first);
      parallel::rows_at_out(row_SD, tokens_TD, block.of(rows.token_R));
      return row_SD;
    }

   private:
    at::Tensor room_SX_;
  };

  struct Backward {
    const parallel::TokenRows& rows;
    const parallel::RowTensors& saved;
    const parallel::WeightedGradients& above;
    const Weights &weights, &gradients;
    at::Tensor grad_rows_RD;
  };

  static int64_t hidden_width(const Weights& weights) { return weights.back().size(1); }
  static at::Tensor all_rows(const parallel::TokenRows& rows, int64_t width) {
    return at::empty({rows.token_R.size(0), width}, rows.tokens_TD.options());
  }

  /// Of one block, from the gradient of its outputs where weights are 1: gradients take the place of what was saved.
  void block_backward(const Backward& all, const ExpertTurn& block, const at::Tensor& grad_SD,
                      const at::Tensor& hidden_SF, at::Tensor grad_hidden_SF) const {
    grouped_mm_transposed_out(grad_hidden_SF, grad_SD, block.weight(all.weights.back()), block.counts);
    parallel::RowTensors made = parallel::narrowed(all.saved, block.row, block.rows);
    units_.again(made, {.hidden_RF = hidden_SF,
                        .grad_RF = grad_hidden_SF,
                        .weight_R = block.of(all.above.weight_R),
                        .grad_weight_R = block.of(all.above.grad_weight_R)});
    at::Tensor own_SD = block.of(all.grad_rows_RD);
    for (size_t i = 0; i < made.size(); ++i)
      grouped_mm_transposed_out(own_SD, made[i], block.weight(all.weights[i]), block.counts, /*add=*/i > 0);
  }

  /// hidden_RF: where weighted hidden units stay; undefined: nowhere.
  void rows_backward(const Backward& all, const Turns& turns, const at::Tensor& hidden_RF) const {
    const Turns blocks = in_blocks(turns);
    const int64_t most = most_rows(blocks), hidden = hidden_width(all.weights);
    const Room grad_room(all.rows, most), grad_hidden_room(all.rows, most, hidden),
        hidden_room(all.rows, hidden_RF.defined() ? 0 : most, hidden);
    for (const ExpertTurn& block : blocks) {
      const at::Tensor grad_SD = grad_room.gathered(all.above.sum_TD, all.rows, block);
      block_backward(all, block, grad_SD, hidden_RF.defined() ? block.of(hidden_RF) : hidden_room.of(block),
                     grad_hidden_room.of(block));
    }
  }

  /// Of whole experts: their weights' gradients follow those of their rows.
  void experts_backward(const Backward& all, const Turns& turns) const {
    const int64_t most = most_rows(turns), hidden = hidden_width(all.weights);
    const Room grad_room(all.rows, most), row_room(all.rows, most), hidden_room(all.rows, most, hidden),
        grad_hidden_room(all.rows, most_rows(in_blocks(turns)), hidden);
    for (const ExpertTurn& turn : turns) {
      for (const ExpertTurn& block : in_blocks({turn})) {
        const int64_t first = block.row - turn.row;
        const at::Tensor grad_SD = grad_room.gathered(all.above.sum_TD, all.rows, block, first);
        block_backward(all, block, grad_SD, hidden_room.of(block, first), grad_hidden_room.of(block));
      }
      expert_weights_backward(all, turn, row_room.gathered(all.rows.tokens_TD, all.rows, turn), hidden_room.of(turn),
                              grad_room.of(turn));
    }
  }

  /// Of experts whose rows have gone backward already.
  void weights_backward(const Backward& all, const Turns& turns, const at::Tensor& hidden_RF) const {
    const int64_t most = most_rows(turns);
    const Room grad_room(all.rows, most), row_room(all.rows, most);
    for (const ExpertTurn& turn : turns) {
      expert_weights_backward(all, turn, row_room.gathered(all.rows.tokens_TD, all.rows, turn), turn.of(hidden_RF),
                              grad_room.gathered(all.above.sum_TD, all.rows, turn));
    }
  }

  /// The weights of rows are in what was saved and in the hidden units: not in grad_SD.
  void expert_weights_backward(const Backward& all, const ExpertTurn& turn, const at::Tensor& row_SD,
                               const at::Tensor& hidden_SF, const at::Tensor& grad_SD) const {
    for (size_t i = 0; i < all.saved.size(); ++i)
      grouped_weight_gradient_out(turn.weight(all.gradients[i]), row_SD, turn.of(all.saved[i]), turn.counts);
    grouped_weight_gradient_out(turn.weight(all.gradients.back()), hidden_SF, grad_SD, turn.counts);
  }

  HiddenUnits units_;
};

}  // namespace moetrain
