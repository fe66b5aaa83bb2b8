// defines: HostExchange, RowsBetween: rows to the ranks of their experts, a token once to each other host
#pragma once
#include <memory>
#include <vector>

#include "parallel/mesh/mesh.h"

namespace parallel {

// R rows of this rank, N rows that it receives, D width; S, X ranks of the expert axis that send and receive

/// What the ranks of the expert axis send each other at once.
struct RowsBetween {
  std::vector<RowCounts> rows_SX;  // the same on every rank
  RowCounts begin_X;               // where this rank's rows for rank x begin among its R
};

/// An all-to-all of rows over the expert axis, for rows of which several are copies of one token.
///
/// A token goes once to each other host where it has an expert: to the rank there whose place in its host is the
/// sender's (modulo the number of ranks there), with a table that says which ranks take it, 4 bytes a copy. That rank
/// then spreads the copies inside its host, together with its own rows for its neighbours. What is received is what one
/// plain all-to-all gives, bit for bit, in its order.
class HostExchange {
 public:
  /// `token_R`: rows of one token are copies of each other. Exchanges the tables, of all chunks together. Collective
  /// over mesh.expert(). @pre mesh.dispatches_by_host()
  HostExchange(std::shared_ptr<const Mesh> mesh, const std::vector<RowsBetween>& chunks, const at::Tensor& token_R);

  /// rows_RD [R, D] -> what crosses to this rank's host, under way. Collective over mesh.expert().
  Work cross(const at::Tensor& rows_RD, int64_t chunk, at::Tensor& crossed) const;
  /// Once it is there: [N, D] by rank that sends. Collective over mesh.expert_inside().
  at::Tensor spread(const at::Tensor& rows_RD, const at::Tensor& crossed, int64_t chunk) const;

  /// Rows that this rank sends to other hosts.
  int64_t crossing_rows(int64_t chunk) const;

 private:
  using Table = std::vector<int32_t>;
  struct Block {
    int64_t begin = 0, rows = 0;
  };
  struct Way {
    // Between hosts, by rank of the axis:
    at::Tensor crossing;  // the first copy of each token for each other host, in the order of ranks that take them
    RowCounts crossing_sent, crossing_received;
    // Inside the host, by rank of Mesh::expert_inside():
    std::vector<Block> own;  // this rank's rows
    at::Tensor forwarded;    // which of the received ones, rank by rank
    RowCounts forwarded_rows, spread_sent, spread_received;
    std::vector<Block> arrived_S;  // where each sender's rows then lie
  };

  /// The rank of host `h` that takes what rank `s` sends there.
  int64_t taker(int64_t s, size_t h) const;
  bool takes_from(int64_t x, int64_t s) const;
  /// Appends to `tables`, by rank that takes, which of the tokens that cross each copy is.
  void plan_crossing(const RowsBetween& between, const int64_t* token_R, Way& way, std::vector<Table>& tables) const;
  /// `tables`: this chunk's, by rank that sends.
  void plan_spread(const RowsBetween& between, const std::vector<const int32_t*>& tables, Way& way) const;

  std::shared_ptr<const Mesh> mesh_;
  std::vector<RowCounts> ranks_of_;  // of each host
  std::vector<size_t> host_of_;      // of each rank, an index of ranks_of_
  std::vector<int64_t> place_of_;    // of each rank in its host
  int64_t own_ = 0;
  std::vector<Way> ways_;
};

}  // namespace parallel
