#include "moetrain/experts/gathered_feed_forward.h"

#include <ATen/ops/empty.h>

#include "moetrain/products/expert_turns.h"
#include "moetrain/products/grouped_gemm.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/dispatch/row_tensors.h"

namespace moetrain {
namespace {

using Weights = parallel::ExpertCompute::Weights;

int64_t hidden_width(const Weights& weights) { return weights.back().size(1); }
at::Tensor all_rows(const parallel::TokenRows& rows, int64_t width) {
  return at::empty({rows.token_R.size(0), width}, rows.tokens_TD.options());
}

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
  const HiddenUnits& units;
  const parallel::TokenRows& rows;
  const parallel::RowTensors& saved;
  const parallel::WeightedGradients& above;
  const Weights &weights, &gradients;
  at::Tensor grad_rows_RD;

  /// hidden_RF: where weighted hidden units stay; undefined: nowhere.
  void by_rows(const Turns& turns, const at::Tensor& hidden_RF) const {
    const Turns blocks = in_blocks(turns);
    const int64_t most = most_rows(blocks), hidden = hidden_width(weights);
    const Room grad_room(rows, most), grad_hidden_room(rows, most, hidden),
        hidden_room(rows, hidden_RF.defined() ? 0 : most, hidden);
    for (const ExpertTurn& block : blocks) {
      const at::Tensor grad_SD = grad_room.gathered(above.sum_TD, rows, block);
      block_backward(block, grad_SD, hidden_RF.defined() ? block.of(hidden_RF) : hidden_room.of(block),
                     grad_hidden_room.of(block));
    }
  }

  /// Of whole experts: their weights' gradients follow those of their rows.
  void by_experts(const Turns& turns) const {
    const int64_t most = most_rows(turns), hidden = hidden_width(weights);
    const Room grad_room(rows, most), row_room(rows, most), hidden_room(rows, most, hidden),
        grad_hidden_room(rows, most_rows(in_blocks(turns)), hidden);
    for (const ExpertTurn& turn : turns) {
      for (const ExpertTurn& block : in_blocks({turn})) {
        const int64_t first = block.row - turn.row;
        const at::Tensor grad_SD = grad_room.gathered(above.sum_TD, rows, block, first);
        block_backward(block, grad_SD, hidden_room.of(block, first), grad_hidden_room.of(block));
      }
      expert_weights_backward(turn, row_room.gathered(rows.tokens_TD, rows, turn), hidden_room.of(turn),
                              grad_room.of(turn));
    }
  }

  /// Of experts whose rows have gone backward already.
  void weights_of(const Turns& turns, const at::Tensor& hidden_RF) const {
    const int64_t most = most_rows(turns);
    const Room grad_room(rows, most), row_room(rows, most);
    for (const ExpertTurn& turn : turns) {
      expert_weights_backward(turn, row_room.gathered(rows.tokens_TD, rows, turn), turn.of(hidden_RF),
                              grad_room.gathered(above.sum_TD, rows, turn));
    }
  }

 private:
  /// Of one block, from the gradient of its outputs where weights are 1: gradients take the place of what was saved.
  void block_backward(const ExpertTurn& block, const at::Tensor& grad_SD, const at::Tensor& hidden_SF,
                      at::Tensor grad_hidden_SF) const {
    grouped_mm_transposed_out(grad_hidden_SF, grad_SD, block.weight(weights.back()), block.counts);
    parallel::RowTensors made = parallel::narrowed(saved, block.row, block.rows);
    units.again(made, {.hidden_RF = hidden_SF,
                       .grad_RF = grad_hidden_SF,
                       .weight_R = block.of(above.weight_R),
                       .grad_weight_R = block.of(above.grad_weight_R)});
    at::Tensor own_SD = block.of(grad_rows_RD);
    for (size_t i = 0; i < made.size(); ++i)
      grouped_mm_transposed_out(own_SD, made[i], block.weight(weights[i]), block.counts, /*add=*/i > 0);
  }

  /// The weights of rows are in what was saved and in the hidden units: not in grad_SD.
  void expert_weights_backward(const ExpertTurn& turn, const at::Tensor& row_SD, const at::Tensor& hidden_SF,
                               const at::Tensor& grad_SD) const {
    for (size_t i = 0; i < saved.size(); ++i)
      grouped_weight_gradient_out(turn.weight(gradients[i]), row_SD, turn.of(saved[i]), turn.counts);
    grouped_weight_gradient_out(turn.weight(gradients.back()), hidden_SF, grad_SD, turn.counts);
  }
};

}  // namespace

std::vector<int64_t> GatheredFeedForward::gathered_widths(const Weights& weights) const {
  return std::vector<int64_t>(weights.size() - 1, hidden_width(weights));
}

at::Tensor GatheredFeedForward::forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                                                 const parallel::RowTensors& saved) const {
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
      parallel::RowTensors made =
          saved.empty() ? parallel::narrowed(made_rooms, 0, turn.rows) : parallel::narrowed(saved, turn.row, turn.rows);
      for (size_t i = 0; i < made.size(); ++i) grouped_mm_out(made[i], row_SD, turn.weight(weights[i]), turn.counts);
      units_.value(hidden_SF, made);
      grouped_mm_out(out_SD, hidden_SF, turn.weight(weights.back()), turn.counts);
    }
  });
  return out_RD;
}

at::Tensor GatheredFeedForward::backward_gathered(const parallel::TokenRows& rows, const parallel::RowTensors& saved,
                                                  const parallel::WeightedGradients& above, const Weights& weights,
                                                  const Weights& gradients) const {
  const Backward all{units_, rows, saved, above, weights, gradients, all_rows(rows, rows.tokens_TD.size(1))};
  const auto by_rows = [&](const at::Tensor& hidden_RF) {
    take_turns(row_turns(rows.tokens_TD, rows.rows_per_expert), [&](const Turns& own) { all.by_rows(own, hidden_RF); });
  };
  if (gradients.empty()) {
    by_rows({});
  } else if (const auto by_experts = expert_turns(rows.tokens_TD, rows.rows_per_expert); !by_experts.empty()) {
    take_turns(by_experts, [&](const Turns& own) { all.by_experts(own); });
  } else {  // rows by threads that share experts, then experts by all threads
    const at::Tensor hidden_RF = all_rows(rows, hidden_width(weights));
    by_rows(hidden_RF);
    all.weights_of(neighbour_turns(rows.rows_per_expert), hidden_RF);
  }
  return all.grad_rows_RD;
}

}  // namespace moetrain
