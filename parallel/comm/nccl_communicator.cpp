// With what parallel/device/cuda_device.h declares, libmoetrain_cuda.so is made of this.
#include <ATen/ATen.h>
#include <nccl.h>
#include <net/if.h>
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
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/comm/stream_work.h"
#include "parallel/device/cuda_device.h"

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

  void take_lane(Lane) override {}

  std::shared_ptr<Communicator> duplicate() override { return split(0, rank_); }

  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    ncclComm_t part = nullptr;
    check_nccl(ncclCommSplit(comm_, static_cast<int>(color), static_cast<int>(key), &part, nullptr), "ncclCommSplit");
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
  c10::Stream stream_;
};

int loaded_version() {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "ncclGetVersion");
  return version;
}

std::string to_text(int version) { return concat(version / 10000, ".", version / 100 % 100, ".", version % 100); }

void check_version() {
  if (loaded_version() >= NCCL_VERSION_CODE) return;
  user_error("run.device = \"cuda\": the NCCL that was found is ", to_text(loaded_version()),
             ", older than the one this program was built with; legal: ", to_text(NCCL_VERSION_CODE),
             " or later in LD_LIBRARY_PATH, or nothing of NCCL there");
}

/// NCCL would say so at the first collective, on each rank, in its own words.
void check_interfaces() {
  const char* variable = std::getenv("NCCL_SOCKET_IFNAME");
  if (variable == nullptr || *variable == '\0' || *variable == '^') return;
  const bool exact = *variable == '=';
  std::vector<std::string> there;
  struct if_nameindex* all = if_nameindex();
  for (const auto* each = all; each != nullptr && each->if_index != 0; ++each) there.emplace_back(each->if_name);
  if (all != nullptr) if_freenameindex(all);
  for (const std::string& name : there) {
    for (const std::string_view word : split(variable + (exact ? 1 : 0), ',')) {
      const std::string_view wanted = word.substr(0, word.find(':'));  // behind it a port
      if (wanted.empty()) continue;
      if (exact ? name == wanted : name.starts_with(wanted)) return;
    }
  }
  user_error("NCCL_SOCKET_IFNAME=\"", variable, "\" fits no network interface of this host; legal: some of ",
             list_names(there));
}

at::Device open_device(int64_t local_rank) {
  check_version();
  // Kernels of several communicators start in the order in which the host calls, which is the same on every rank.
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*replace=*/0);
  // A communicator connects for all its algorithms when it is made, not for each at its first use.
  setenv("NCCL_RUNTIME_CONNECT", "0", /*replace=*/0);
  return open_cuda_device(local_rank);
}

DeviceFacts facts() {
  DeviceFacts found = cuda_facts();
  found.nccl = to_text(loaded_version());
  return found;
}

std::shared_ptr<Communicator> communicator(Communicator& bootstrap, at::Device device) {
  if (bootstrap.size() == 1) return std::make_shared<LocalCommunicator>();
  all_ranks(bootstrap, check_interfaces);
  return std::make_shared<NcclCommunicator>(bootstrap, device);
}

}  // namespace
}  // namespace parallel

extern "C" void moetrain_fill_device_library(parallel::DeviceLibrary& library) {
  library.open_device = parallel::open_device;
  library.facts = parallel::facts;
  library.communicator = parallel::communicator;
  library.kernels = parallel::cuda_kernels();
}
