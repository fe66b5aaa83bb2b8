#include <ATen/ATen.h>
#include <nccl.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/comm/accelerator_communicator.h"
#include "parallel/comm/stream_work.h"

namespace parallel {
namespace {

void check_nccl(ncclResult_t status, const char* call) {
  if (status != ncclSuccess) throw InternalError(concat(call, " failed: ", ncclGetErrorString(status)));
}

ncclDataType_t to_nccl_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      throw InternalError(concat("NcclCommunicator: no NCCL type for ", tensor.scalar_type()));
  }
}

/// Carries 128 bytes from rank 0 to all: rank 0's words plus everybody else's zeros.
ncclUniqueId share_unique_id(Communicator& bootstrap) {
  ncclUniqueId id{};
  at::Tensor words = at::zeros({static_cast<int64_t>(sizeof(id) / sizeof(int64_t))}, at::kLong);
  static_assert(sizeof(id) % sizeof(int64_t) == 0);
  if (bootstrap.rank() == 0) {
    check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::memcpy(words.data_ptr(), &id, sizeof(id));
  }
  bootstrap.all_reduce(words, ReduceOp::kSum).wait();
  std::memcpy(&id, words.data_ptr(), sizeof(id));
  return id;
}

/// What NCCL meets while nobody calls it (a peer that died, a link that broke) it tells who asks, and all that wait for
/// that peer wait for ever. So a thread asks, of every communicator that is there.
class ErrorWatch {
 public:
  static ErrorWatch& instance() {
    static auto* const watch = new ErrorWatch;  // its thread may outlive every static
    return *watch;
  }

  void add(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.insert(comm);
  }

  /// Before it is destroyed.
  void remove(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.erase(comm);
  }

 private:
  ErrorWatch() {
    std::thread([this] {
      pthread_setname_np(pthread_self(), "nccl_errors");
      while (true) {
        std::this_thread::sleep_for(std::chrono::seconds(1));
        look();
      }
    }).detach();
  }

  void look() {
    const std::lock_guard lock(mutex_);
    for (ncclComm_t comm : comms_) {
      ncclResult_t error = ncclSuccess;
      if (ncclCommGetAsyncError(comm, &error) != ncclSuccess) continue;
      if (error == ncclSuccess || error == ncclInProgress) continue;
      int rank = -1;
      ncclCommUserRank(comm, &rank);
      std::fprintf(stderr, "moetrain: internal fault on rank %d of a group on GPUs: NCCL met an error: %s: %s\n", rank,
                   ncclGetErrorString(error), ncclGetLastError(comm));
      std::fflush(nullptr);
      std::_Exit(2);  // an internal fault's exit code; mpirun and srun then end the other ranks
    }
  }

  std::mutex mutex_;
  std::set<ncclComm_t> comms_;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(Communicator& bootstrap, at::Device device)
      : rank_(bootstrap.rank()), size_(bootstrap.size()), stream_(side_stream(device)) {
    const ncclUniqueId id = share_unique_id(bootstrap);
    check_nccl(ncclCommInitRank(&comm_, static_cast<int>(size_), id, static_cast<int>(rank_)), "ncclCommInitRank");
    begin();
  }
  ~NcclCommunicator() override {
    ErrorWatch::instance().remove(comm_);
    // Where an error is on its way out, it is to be printed: both ways of ending a communicator may wait for other
    // ranks, and this process is about to end with all that it has.
    if (std::uncaught_exceptions() == 0) ncclCommDestroy(comm_);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }

  Work all_reduce(at::Tensor tensor, ReduceOp op) override {
    check_reducible(tensor);
    check_on_gpu(tensor);
    const auto begun = begin_on(stream_, {});
    check_nccl(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<size_t>(tensor.numel()),
                             to_nccl_type(tensor), op == ReduceOp::kSum ? ncclSum : ncclMax, comm_, native_stream()),
               "ncclAllReduce");
    return {std::make_unique<StreamWork>(stream_, begun), {std::move(tensor)}};
  }

  Work all_gather(at::Tensor gathered, at::Tensor part) override {
    check_gatherable(gathered, part, size_);
    check_on_gpu(gathered);
    check_on_gpu(part);
    const auto begun = begin_on(stream_, {});
    check_nccl(ncclAllGather(part.data_ptr(), gathered.data_ptr(), static_cast<size_t>(part.numel()),
                             to_nccl_type(part), comm_, native_stream()),
               "ncclAllGather");
    return {std::make_unique<StreamWork>(stream_, begun), {std::move(gathered), std::move(part)}};
  }

  Work all_to_all(at::Tensor received, at::Tensor sent, const RowCounts& received_rows, const RowCounts& sent_rows,
                  const After& after) override {
    check_exchangeable(received, sent, received_rows, sent_rows, size_);
    check_on_gpu(sent);
    const auto begun = begin_on(stream_, after);
    const int64_t bytes = row_bytes(sent);
    const char* from = static_cast<const char*>(sent.data_ptr());
    char* to = static_cast<char*>(received.data_ptr());
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    for (int peer = 0; peer < size_; ++peer) {
      const auto out = static_cast<size_t>(sent_rows[static_cast<size_t>(peer)] * bytes);
      const auto in = static_cast<size_t>(received_rows[static_cast<size_t>(peer)] * bytes);
      if (out > 0) check_nccl(ncclSend(from, out, ncclInt8, peer, comm_, native_stream()), "ncclSend");
      if (in > 0) check_nccl(ncclRecv(to, in, ncclInt8, peer, comm_, native_stream()), "ncclRecv");
      from += out;
      to += in;
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
    return {std::make_unique<StreamWork>(stream_, begun), {std::move(received), std::move(sent)}};
  }

  /// Where parts differ in length, each rank broadcasts its own; NCCL fuses the group.
  Work all_gather_rows(at::Tensor gathered, at::Tensor part, const RowCounts& rows, const After& after) override {
    check_row_parts(gathered, part, rows, rank_, size_);
    check_on_gpu(gathered);
    const auto begun = begin_on(stream_, after);
    char* to = static_cast<char*>(gathered.data_ptr());
    if (all_alike(rows)) {
      check_nccl(ncclAllGather(part.data_ptr(), to, part.nbytes(), ncclInt8, comm_, native_stream()), "ncclAllGather");
      return {std::make_unique<StreamWork>(stream_, begun), {std::move(gathered), std::move(part)}};
    }
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    for (int root = 0; root < size_; ++root) {
      const auto bytes = static_cast<size_t>(rows[static_cast<size_t>(root)] * row_bytes(part));
      if (bytes > 0) {
        check_nccl(ncclBroadcast(part.data_ptr(), to, bytes, ncclInt8, root, comm_, native_stream()), "ncclBroadcast");
      }
      to += bytes;
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
    return {std::make_unique<StreamWork>(stream_, begun), {std::move(gathered), std::move(part)}};
  }

  /// Where they differ, one reduction for each rank, of which all but one are a rank's work for others alone.
  Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const RowCounts& rows) override {
    check_reducible(whole);
    check_row_parts(whole, part, rows, rank_, size_);
    check_on_gpu(whole);
    const auto begun = begin_on(stream_, {});
    const int64_t elements = row_bytes(whole) / whole.element_size();
    const char* from = static_cast<const char*>(whole.data_ptr());
    if (all_alike(rows)) {
      check_nccl(ncclReduceScatter(from, part.data_ptr(), static_cast<size_t>(part.numel()), to_nccl_type(whole),
                                   ncclSum, comm_, native_stream()),
                 "ncclReduceScatter");
      return {std::make_unique<StreamWork>(stream_, begun), {std::move(part), std::move(whole)}};
    }
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    for (int root = 0; root < size_; ++root) {
      const int64_t count = rows[static_cast<size_t>(root)] * elements;
      if (count > 0) {
        check_nccl(ncclReduce(from, part.data_ptr(), static_cast<size_t>(count), to_nccl_type(whole), ncclSum, root,
                              comm_, native_stream()),
                   "ncclReduce");
      }
      from += count * whole.element_size();
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
    return {std::make_unique<StreamWork>(stream_, begun), {std::move(part), std::move(whole)}};
  }

  /// NCCL takes the bound when it makes a communicator: another bound, another one. Collective where it changes.
  void take_lane(Lane lane) override {
    if (lane.multiprocessors == Lane::kAsItIs || lane.multiprocessors == multiprocessors_) return;
    stream_.synchronize();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    if (lane.multiprocessors > 0) config.maxCTAs = static_cast<int>(lane.multiprocessors);
    ncclComm_t bounded = nullptr;
    check_nccl(ncclCommSplit(comm_, /*color=*/0, static_cast<int>(rank_), &bounded, &config), "ncclCommSplit");
    ErrorWatch::instance().remove(comm_);
    check_nccl(ncclCommDestroy(std::exchange(comm_, bounded)), "ncclCommDestroy");
    multiprocessors_ = lane.multiprocessors;
    begin();
  }

  std::shared_ptr<Communicator> duplicate() override { return split(0, rank_); }

  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    ncclComm_t part = nullptr;
    ncclConfig_t unbounded = NCCL_CONFIG_INITIALIZER;  // where there is none, a part has the bound of the whole
    check_nccl(ncclCommSplit(comm_, static_cast<int>(color), static_cast<int>(key), &part, &unbounded),
               "ncclCommSplit");
    return std::shared_ptr<Communicator>(new NcclCommunicator(part, stream_.device()));
  }

 private:
  NcclCommunicator(ncclComm_t comm, at::Device device) : comm_(comm), stream_(side_stream(device)) {
    int rank = 0, size = 1;
    check_nccl(ncclCommUserRank(comm_, &rank), "ncclCommUserRank");
    check_nccl(ncclCommCount(comm_, &size), "ncclCommCount");
    rank_ = rank;
    size_ = size;
    begin();
  }

  /// NCCL connects to a peer at first use, and waits for it: two communicators that would do so in the middle of a
  /// step, in other orders on other ranks, would wait for each other. All ranks make them in one order; so here.
  void begin() {
    ErrorWatch::instance().add(comm_);
    const auto options = at::TensorOptions(stream_.device()).dtype(at::kFloat);
    const at::Tensor own = at::zeros({1}, options), all = at::zeros({size_, 1}, options);
    const RowCounts one(static_cast<size_t>(size_), 1);
    all_reduce(own, ReduceOp::kSum).wait();
    all_gather(all, own).wait();
    all_to_all(at::zeros_like(all), all, one, one, {}).wait();
    stream_.synchronize();
  }

  static bool all_alike(const RowCounts& rows) {
    return std::adjacent_find(rows.begin(), rows.end(), std::not_equal_to<>()) == rows.end();
  }

  void check_on_gpu(const at::Tensor& tensor) const {
    check_internal(tensor.device() == stream_.device(), "NcclCommunicator: tensor of shape ", tensor.sizes(), " on ",
                   tensor.device(), " must be on ", stream_.device());
  }

  cudaStream_t native_stream() const { return static_cast<cudaStream_t>(stream_.native_handle()); }

  ncclComm_t comm_ = nullptr;
  int64_t rank_ = 0;
  int64_t size_ = 1;
  int64_t multiprocessors_ = 0;  // that it keeps to; 0: to none
  c10::Stream stream_;
};

}  // namespace

std::shared_ptr<Communicator> nccl_communicator(Communicator& bootstrap, at::Device device) {
  return std::make_shared<NcclCommunicator>(bootstrap, device);
}

}  // namespace parallel
