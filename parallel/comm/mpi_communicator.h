// defines: MpiCommunicator, world_communicator(engine): collectives on CPU tensors
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/process/mpi_engine.h"

namespace parallel {

/// CPU tensors over MPI; the reference for the other communicators. Operations run on the engine's thread, so they
/// go on while the caller computes. Destroyed before the engine; destruction is local.
class MpiCommunicator : public Communicator {
 public:
  /// Owns the native communicator (an MPI_Comm carried as an opaque pointer) from here on.
  MpiCommunicator(MpiEngine& engine, void* native);
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  Work all_reduce(at::Tensor tensor, ReduceOp op) override;
  Work all_gather(at::Tensor gathered, at::Tensor part) override;
  Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows, const RowCounts& sent_rows,
                  const After& after) override;
  Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) override;
  Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) override;
  void take_lane(Lane lane) override { lane_ = lane; }
  std::shared_ptr<Communicator> duplicate() override;
  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override;

  /// This rank's number among the ranks of its host. Collective.
  int64_t host_rank() const;

  /// The first rank of each rank's host, in the order of ranks: equal numbers share a host. Collective.
  std::vector<int64_t> host_leaders();

  MpiEngine& engine() { return engine_; }
  /// The MPI_Comm, opaque: for the one other room that needs it (parallel HDF5), used on the engine's thread only.
  void* native() const { return native_; }

 private:
  Work all_reduce_in_parts(at::Tensor tensor, ReduceOp op);

  MpiEngine& engine_;
  void* native_;
  int64_t rank_ = 0;
  int64_t size_ = 1;
  Lane lane_;
};

/// All ranks of the job. Collective.
std::shared_ptr<MpiCommunicator> world_communicator(MpiEngine& engine);

}  // namespace parallel
