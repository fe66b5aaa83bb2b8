// A stand-in for NCCL between strict devices: its symbols as far as moetrain uses them, over shared memory, with the
// contracts that NCCL has and does not check. Ranks read each other's device memory; who issues what is compared.
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/strict_device/memory.h"
#include "tests/strict_device/nccl_operations.h"
#include "tests/strict_device/streams.h"

namespace {

using strict::join;
using strict::Kind;
using strict::kNames;
using strict::Operation;
using strict::refuse;
using strict::Slot;

std::FILE* order_file() {
  static std::FILE* const file = [] {
    const char* path = std::getenv("STRICT_DEVICE_ORDER");
    return path == nullptr ? nullptr : std::fopen((std::string(path) + "." + std::to_string(getpid())).c_str(), "w");
  }();
  return file;
}

struct Issued {
  ncclComm* comm;
  Operation operation;
  c10::StreamId stream;
};

thread_local int depth = 0;
thread_local std::vector<Issued> group;

bool is_exchange(const Operation& operation) {
  return operation.kind == Kind::kSend || operation.kind == Kind::kReceive;
}

/// Lines "COMMUNICATOR RANK BOUND OPERATION", the bound on its multiprocessors, 0: none; of sends and receives
/// "exchange" and the ranks with which.
void write_order(const ncclComm& comm, const std::vector<Operation>& operations) {
  std::FILE* file = order_file();
  if (file == nullptr) return;
  std::set<int64_t> peers;
  for (const Operation& operation : operations) {
    if (is_exchange(operation)) {
      peers.insert(operation.root);
    } else {
      std::fprintf(file, "%s %d %d %s\n", comm.name.c_str(), comm.rank, comm.bound,
                   kNames[static_cast<size_t>(operation.kind)]);
    }
  }
  if (!peers.empty()) {
    std::fprintf(file, "%s %d %d exchange", comm.name.c_str(), comm.rank, comm.bound);
    for (const int64_t peer : peers) std::fprintf(file, " %ld", static_cast<long>(peer));
    std::fprintf(file, "\n");
  }
  std::fflush(file);
}

void launch(ncclComm* comm, c10::StreamId stream, std::vector<Operation> operations) {
  write_order(*comm, operations);
  comm->stream = stream;
  std::vector<Operation> exchanged;
  for (const Operation& operation : operations) {
    if (is_exchange(operation)) {
      exchanged.push_back(operation);
    } else {
      strict::issue(stream, strict::collective(comm, operation));
    }
  }
  if (exchanged.empty()) return;
  strict::issue(stream, strict::exchange(comm, std::move(exchanged)));
}

/// Its stream must be behind what made, and what last used, the memory that it reads or writes.
void check_place(const void* address, const Operation& operation, c10::StreamId stream) {
  if (address == nullptr) return;
  const std::string name = kNames[static_cast<size_t>(operation.kind)];
  if (!strict::is_of_device(address)) refuse(name + " over the host's memory");
  if (strict::last_use(address) > strict::seen_by(stream))
    refuse(name + " that does not wait for the stream that used its memory");
}

/// NCCL connects to a peer at the first exchange with it, and waits for it meanwhile. That must be over before the
/// communicator is used in earnest: by the first time that the host waits.
void check_connected(ncclComm* comm, const Operation& operation) {
  if (!comm->first_used) comm->first_used = strict::times_waited();
  if (!is_exchange(operation) || operation.root == comm->rank || operation.count == 0) return;
  if (!comm->peers.insert(operation.root).second || strict::times_waited() == comm->first_used) return;
  refuse("the first exchange of ranks " + std::to_string(comm->rank) + " and " + std::to_string(operation.root) +
         " of " + comm->name + " in the middle of its work");
}

ncclResult_t take(ncclComm* comm, const Operation& operation, cudaStream_t stream) {
  const auto id = static_cast<c10::StreamId>(reinterpret_cast<intptr_t>(stream));
  if (!strict::chose_device()) {
    refuse(std::string(kNames[static_cast<size_t>(operation.kind)]) + " by a thread that has chosen no device");
  }
  check_connected(comm, operation);
  check_place(operation.from, operation, id);
  check_place(operation.to, operation, id);
  if (depth > 0) {
    group.push_back({comm, operation, id});
  } else {
    launch(comm, id, {operation});
  }
  return ncclSuccess;
}

Operation made(Kind kind, const void* from, void* to, size_t count, ncclDataType_t type, int64_t op, int64_t root) {
  return {kind, static_cast<int64_t>(count), type, op, root, static_cast<const char*>(from), static_cast<char*>(to)};
}

}  // namespace

bool strict::in_open_group(c10::StreamId stream) {
  return std::ranges::any_of(group, [&](const Issued& issued) { return issued.stream == stream; });
}

extern "C" {

const char* ncclGetErrorString(ncclResult_t) { return "an error of the stand-in NCCL"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }
ncclResult_t ncclGetVersion(int* version) {
  const char* pretended = std::getenv("STRICT_DEVICE_NCCL");  // for the test of an older one
  *version = pretended == nullptr ? NCCL_VERSION_CODE : std::atoi(pretended);
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device device;
  const std::string name = "/moetrain_strict_" + std::to_string(getpid()) + "_" + std::to_string(device());
  std::memset(id, 0, sizeof(*id));
  std::memcpy(id->internal, name.c_str(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  *comm = join(id.internal, size, rank);
  return ncclSuccess;
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* part, ncclConfig_t* config) {
  if (strict::outstanding(comm->stream) > 0) refuse("a split of " + comm->name + " while work of it is outstanding");
  comm->slots[comm->rank].color = color;
  comm->slots[comm->rank].key = key;
  comm->meet();
  int size = 0, rank = 0;
  for (int r = 0; r < comm->size; ++r) {
    const Slot& other = comm->slots[r];
    if (other.color != color) continue;
    ++size;
    if (other.key < key || (other.key == key && r < comm->rank)) ++rank;
  }
  comm->meet();
  *part = join(comm->name + "_" + std::to_string(comm->splits++) + "." + std::to_string(color), size, rank);
  (*part)->bound = config == nullptr ? comm->bound : config->maxCTAs == NCCL_CONFIG_UNDEF_INT ? 0 : config->maxCTAs;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  *rank = comm->rank;
  return ncclSuccess;
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int* size) {
  *size = comm->size;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}

/// As NCCL may: waits for the other ranks' calls.
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  strict::finish(comm->stream);
  comm->meet();
  munmap(comm->slots, comm->bytes);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (depth == 0) refuse("a group ends that did not begin");
  if (--depth > 0) return ncclSuccess;
  std::vector<Issued> all = std::move(group);
  group.clear();
  while (!all.empty()) {
    ncclComm* comm = all.front().comm;
    const c10::StreamId stream = all.front().stream;
    std::vector<Operation> own;
    std::vector<Issued> rest;
    for (const Issued& issued : all) {
      if (issued.comm != comm) {
        rest.push_back(issued);
        continue;
      }
      if (issued.stream != stream) refuse("one group of " + comm->name + " on two streams");
      own.push_back(issued.operation);
    }
    launch(comm, stream, std::move(own));
    all = std::move(rest);
  }
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return take(comm, made(Kind::kAllReduce, from, to, count, type, op, 0), stream);
}
ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return take(comm, made(Kind::kAllGather, from, to, count, type, 0, 0), stream);
}
ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return take(comm, made(Kind::kReduceScatter, from, to, count, type, op, 0), stream);
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return take(comm, made(Kind::kBroadcast, from, to, count, type, 0, root), stream);
}
ncclResult_t ncclReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return take(comm, made(Kind::kReduce, from, to, count, type, op, root), stream);
}
ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return take(comm, made(Kind::kSend, from, nullptr, count, type, 0, peer), stream);
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return take(comm, made(Kind::kReceive, nullptr, to, count, type, 0, peer), stream);
}

}  // extern "C"
