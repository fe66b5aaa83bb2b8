// defines: ExpertGroup, RowChunk, RowChunks, ExpertExchange: rows travel to the ranks that hold their experts, and back
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "parallel/dispatch/host_exchange.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/dispatch/row_streams.h"
#include "parallel/mesh/mesh.h"

namespace parallel {

// R rows of this rank, N rows of this rank's experts in one chunk, D width, B ranks of Mesh::experts()

/// The ranks that share a layer's experts, and who holds which.
struct ExpertGroup {
  std::shared_ptr<const Mesh> mesh;
  ExpertMap map;
  int64_t layer = 0;  // its number in Mesh::schedule()
};

/// What travels at once: of every rank of the expert axis a window of the rows bound for it.
struct RowChunk {
  int64_t number = 0;        // among those of all passes
  int64_t begin = 0;         // of this rank's rows, in wire order
  RowCounts sent, received;  // by rank of the expert axis
  RowCounts gathered;        // by rank of the expert_tensor axis
  int64_t first_row = 0;     // among the rows that this rank's experts get in the pass
  RowsPerExpert rows_per_expert;
  at::Tensor arrival_N;  // the place, in order of arrival, of each row sorted by expert; undefined: the same
  at::Tensor sorted_N;   // the way back

  int64_t sent_rows() const;
  int64_t received_rows() const;  // by the expert axis
  int64_t rows() const;           // that this rank's experts get
};

/// One pass: chunks that are under way together.
struct RowPass {
  std::vector<RowChunk> chunks;
  RowsPerExpert rows_per_expert;
};

/// All rows of a layer, cut.
struct RowChunks {
  std::vector<RowPass> passes;
  at::Tensor wire_R;  // wire order (by chunk, by rank, by expert): the row at each place; undefined: rows as they are
  std::shared_ptr<const HostExchange> by_host;  // null: every row by itself
};

/// Rows of a chunk on their way to the experts.
class Arrival {
 public:
  void wait();
  /// Waits: [N, D], sorted by expert and then by part, of which each has its share of every rank's rows; in `place`
  /// where it is defined.
  at::Tensor take(at::Tensor place = {});
  const Work& sent() const { return sent_; }
  const Work& gathered() const { return gathered_; }

 private:
  friend class ExpertExchange;
  void spread();

  at::Tensor rows_, arrival_N_;
  Work sent_, gathered_;
  std::function<at::Tensor()> spread_;  // what is to be done with rows that went by host
};

/// Results of a chunk on their way back.
class Departure {
 public:
  /// Issues what has to wait for a sum and its conversion. On every rank at the same place.
  void advance();
  void wait();
  /// What was issued; undone where the rank sends nothing of the kind.
  const Work& reduced() const { return reduced_; }
  const Work& returned() const { return returned_; }

 private:
  friend class ExpertExchange;
  void send_back(const at::Tensor& part, const After& after);

  Communicator* expert_ = nullptr;
  RowCounts sent_, received_;
  at::Tensor part_, wire_rows_;
  bool converting_ = false;
  Work reduced_, returned_;
};

/// The ways of one layer's rows, raw (outside autograd); forward, backward and any repetition use the same.
///
/// Counts are exchanged first, so nothing is padded. Rows go to their expert's rank of the expert axis (all-to-all),
/// or by host where Mesh::dispatches_by_host() (HostExchange), then to all its ranks of the expert_tensor axis, each of
/// which computes with its part of the hidden units (all-gather); the way back is a reduce-scatter and an all-to-all.
///
/// A rank takes in at most receive_rows() rows at a time: what exceeds it goes in further passes, whose number is that
/// of the rank with the most rows. Each pass may be cut into chunks, so that one travels while another is computed
/// (FSMoE); a rank's rows are cut where they lie sorted by expert, so that an expert's rows stay together, and an
/// expert's rows lie mixed by the rank they come from, so that every chunk asks its share of every link. The order does
/// not depend on the number of chunks. All ranks of Mesh::experts() take part in every chunk, with or without rows.
class ExpertExchange {
 public:
  /// Collective over Mesh::experts(). `order`: of this rank's choices. The host waits for a device once, for every
  /// rank's counts; where no other takes part not at all: no rows travel, and RowsPerExpert tells kernels the rest.
  ExpertExchange(const ExpertGroup& group, const ChoiceOrder& order);

  /// This rank's rows, by expert.
  const Permutation& sorted() const { return sorted_; }

  /// Whether no other rank takes part.
  bool alone() const { return group_.mesh->experts().size() == 1; }
  int64_t passes() const { return passes_; }
  int64_t receive_rows() const { return receive_rows_; }
  /// Every pass in so many chunks; in one where no other rank takes part. The same number on every rank. Collective.
  RowChunks cut(int64_t chunks) const;

  /// [R, D] in wire order -> this chunk's rows on their way; rows of one token are equal. Collective.
  Arrival dispatch(const at::Tensor& wire_RD, const RowChunks& cut, const RowChunk& chunk) const;
  /// The same for rows of which each has values of its own.
  Arrival dispatch_distinct(const at::Tensor& wire_RD, const RowChunk& chunk) const;
  /// Whether dispatch sends copies of a row once to each other host: then it is for equal rows alone.
  bool sends_copies_once() const { return group_.mesh->dispatches_by_host() && !alone(); }
  /// [N, D], from every rank of the expert_tensor axis its summand -> this chunk's places of wire_RD [R, D], once it is
  /// waited for; made where it is undefined. Collective.
  Departure combine(const at::Tensor& out_ND, const RowChunk& chunk, at::Tensor& wire_RD) const;

 private:
  /// Which rows of the stream of each rank of the expert axis.
  struct Window {
    std::vector<int64_t> begin, end;
  };
  Window window(int64_t pass, int64_t chunk, int64_t chunks) const;
  RowChunks all_at_once() const;
  RowChunk make_chunk(const Window& window, std::vector<int64_t>& wire) const;
  std::shared_ptr<const HostExchange> by_host(const RowChunks& cut, int64_t chunks) const;
  Work gather(const at::Tensor& rows, const RowChunk& chunk, const After& after, at::Tensor& all) const;
  void set_arrival(RowChunk& chunk, const Window& window) const;

  ExpertGroup group_;
  at::Device device_;
  RowStreams streams_;  // none where no other rank takes part
  Permutation sorted_;
  int64_t rows_ = 0;
  int64_t receive_rows_ = 0;
  int64_t passes_ = 1;
};

}  // namespace parallel
