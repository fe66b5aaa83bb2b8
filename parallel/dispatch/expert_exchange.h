// defines: ExpertGroup, ExpertExchange: rows travel to the ranks that hold their experts, and back
#pragma once
#include <memory>
#include <vector>

#include "parallel/dispatch/host_exchange.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/mesh/mesh.h"

namespace parallel {

// R rows of this rank, N rows of this rank's experts in one pass, D width, B ranks of Mesh::experts()

/// The ranks that share a layer's experts, and who holds which.
struct ExpertGroup {
  std::shared_ptr<const Mesh> mesh;
  ExpertMap map;
};

/// The ways of one layer's rows, raw (outside autograd); forward, backward and any repetition use the same.
///
/// Counts are exchanged first, so nothing is padded. Rows go to their expert's rank of the expert axis (all-to-all),
/// then to all its ranks of the expert_tensor axis, each of which computes with its part of the hidden units
/// (all-gather), or by host where Mesh::dispatches_by_host() (HostExchange); the way back is a reduce-scatter and an
/// all-to-all. There they lie sorted by expert and then by the rank they come from, which is global token order.
///
/// A rank takes in at most receive_rows() rows at a time: what exceeds it goes in further passes, whose number is that
/// of the rank with the most rows. All ranks of Mesh::experts() take part in every pass, with or without rows.
class ExpertExchange {
 public:
  /// Collective over Mesh::experts(). `rows_per_expert`: of this rank's rows, sorted by expert. `token_R`: rows of one
  /// token are copies of each other; undefined: there are no copies.
  ExpertExchange(const ExpertGroup& group, const std::vector<int64_t>& rows_per_expert, at::Device device,
                 const at::Tensor& token_R = {});

  int64_t passes() const { return static_cast<int64_t>(passes_.size()); }
  int64_t receive_rows() const { return receive_rows_; }
  /// Of this rank's experts.
  const std::vector<int64_t>& rows_per_expert(int64_t pass) const { return pass_of(pass).rows_per_expert; }

  /// [R, D] -> [N, D], what this rank's experts work on; rows of one token are equal. Collective.
  at::Tensor dispatch(const at::Tensor& rows_RD, int64_t pass) const { return dispatch(rows_RD, pass, by_host_.get()); }
  /// The same for rows of which each has values of its own.
  at::Tensor dispatch_distinct(const at::Tensor& rows_RD, int64_t pass) const {
    return dispatch(rows_RD, pass, nullptr);
  }
  /// Whether dispatch sends copies of a row once to each other host: then it is for equal rows alone.
  bool sends_copies_once() const { return by_host_ != nullptr; }
  /// [N, D], from every rank of the expert_tensor axis its summand -> the rows of this pass within rows_RD [R, D],
  /// which is made where it is undefined. Collective.
  void combine(const at::Tensor& out_ND, int64_t pass, at::Tensor& rows_RD) const;

 private:
  struct Pass {
    RowCounts sent_begin, sent;  // by rank of the expert axis: a range of this rank's rows
    RowCounts received;          // by rank of the expert axis
    RowCounts gathered;          // by rank of the expert_tensor axis
    std::vector<int64_t> rows_per_expert;
    at::Tensor arrival_N;  // the place, in order of arrival, of each row sorted by expert; undefined: the same
    at::Tensor sorted_N;   // the way back
  };
  const Pass& pass_of(int64_t pass) const { return passes_[static_cast<size_t>(pass)]; }
  at::Tensor dispatch(const at::Tensor& rows_RD, int64_t pass, const HostExchange* by_host) const;
  std::vector<RowsBetween> rows_between(const std::vector<std::vector<int64_t>>& rows_BE) const;
  Pass make_pass(const std::vector<std::vector<int64_t>>& rows_BE, int64_t pass, at::Device device) const;

  ExpertGroup group_;
  int64_t rows_ = 0;
  int64_t receive_rows_ = 0;
  std::vector<Pass> passes_;
  std::shared_ptr<const HostExchange> by_host_;  // null: every row by itself
};

}  // namespace parallel
