// defines: SequenceRows, scope_of_sequences: whole sequences as rows that are routed and dispatched
#pragma once
#include "moetrain/layers/batch_scope.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {

// G tokens of the tensor group, T of them this rank's; R sequences that this rank computes, N tokens of them, D width,
// L tokens of the longest sequence of the micro-batch on all ranks

/// The same micro-batch, a sequence being what a token is in `tokens`, the scope of a pass that knows their sequences.
BatchScope scope_of_sequences(const BatchScope& tokens);

/// A sequence is one row: each of its L places has its D numbers and a 1, or D + 1 zeros where the sequence has ended.
/// So a row says its own length, all rows are alike whoever has cut the batch, and whatever moves, bounds or cuts rows
/// of tokens moves sequences too. A tensor group shares the sequences as it shares tokens.
class SequenceRows {
 public:
  /// `tokens`: as in scope_of_sequences.
  explicit SequenceRows(const BatchScope& tokens);

  /// scope_of_sequences
  const BatchScope& scope() const { return scope_; }
  const Sequences& sequences() const { return own_; }
  static int64_t width(int64_t places, int64_t token_width) { return places * (token_width + 1); }

  /// This rank's tokens -> those of the sequences that it computes: [T, D] -> [N, D]; and, what was computed of them,
  /// back. Collective over the tensor group.
  at::Tensor own(const at::Tensor& x_TD) const;
  at::Tensor back(const at::Tensor& x_ND) const;

  /// A sequence's assignment is that of each of its tokens.
  parallel::Assignment of_tokens(const parallel::Assignment& of_rows) const;

  at::Tensor pack(const at::Tensor& x_ND) const;      // -> [R, L (D + 1)]
  at::Tensor unpack(const at::Tensor& row_RX) const;  // -> [N, D], whatever stands where the 1 was

 private:
  parallel::TokenParts parts_;  // of the tokens
  int64_t group_tokens_, longest_;
  int64_t first_token_ = 0;  // of own_ within the group's
  Sequences own_;
  BatchScope scope_;
};

}  // namespace moetrain
