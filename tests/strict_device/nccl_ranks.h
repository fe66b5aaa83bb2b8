// Ranks of the stand-in for NCCL, each a process with a strict device: what they share.
// defines: Kind, kNames, Operation, Slot, Mail, ncclComm, refuse, join
#pragma once
#include <nccl.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/strict_device/streams.h"

namespace strict {

enum class Kind : int64_t { kNone, kAllReduce, kAllGather, kBroadcast, kReduce, kReduceScatter, kSend, kReceive };
constexpr const char* kNames[] = {"nothing", "all_reduce",     "all_gather", "broadcast",
                                  "reduce",  "reduce_scatter", "send",       "receive"};

/// One call of one rank.
struct Operation {
  Kind kind = Kind::kNone;
  int64_t count = 0, type = 0, op = 0, root = 0;  // root: the peer of a send or receive
  const char* from = nullptr;
  char* to = nullptr;
};

struct Slot {
  std::atomic<uint64_t> arrived;
  int64_t process, memory;  // whose, and its file among that one's
  int64_t kind, count, type, op, root;
  uint64_t from;
  int64_t color, key;
};

struct Mail {  // from one rank to another
  std::atomic<uint64_t> posted, taken;
  uint64_t from;
  int64_t bytes;
};

/// Ends the program, as a GPU would have hung, or computed with what it found.
[[noreturn]] void refuse(const std::string& what);

}  // namespace strict

struct ncclComm {
  std::string name;
  int rank = 0, size = 1;
  int bound = 0;  // maxCTAs
  int64_t splits = 0;
  uint64_t phase = 0;                             // arrivals that every rank has made, of steps that were begun
  c10::StreamId stream = strict::kDefaultStream;  // the last one's
  strict::Slot* slots = nullptr;
  strict::Mail* mails = nullptr;
  size_t bytes = 0;
  std::vector<const char*> memory;
  std::optional<uint64_t> first_used;  // when some operation was issued: so often had the host waited
  std::set<int64_t> peers;             // with which rows were exchanged: NCCL has connected to them

  strict::Mail& mail(int from, int to) { return mails[from * size + to]; }
  void arrive() { slots[rank].arrived.fetch_add(1); }
  bool all_arrived(uint64_t times) const {
    for (int r = 0; r < size; ++r) {
      if (slots[r].arrived.load() < times) return false;
    }
    return true;
  }
  /// The host waits until every rank has come.
  void meet();
};

namespace strict {

/// Collective: the ranks of a name meet, and map each other's memory.
ncclComm* join(const std::string& name, int size, int rank);

}  // namespace strict
