#include "tests/strict_device/nccl_ranks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <thread>

#include "tests/strict_device/memory.h"

void ncclComm::meet() {
  arrive();
  ++phase;
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(300);
  while (!all_arrived(phase)) {
    if (std::chrono::steady_clock::now() > patience)
      strict::refuse("rank " + std::to_string(rank) + " of " + name + " waits for ranks that never come");
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

namespace strict {

void refuse(const std::string& what) {
  std::fprintf(stderr, "stand-in NCCL: %s\n", what.c_str());
  std::fflush(nullptr);
  std::_Exit(2);
}

namespace {

/// Other ranks' device memory, by process; mapped once.
const char* memory_of(int64_t process, int64_t file) {
  static std::map<int64_t, const char*> mapped;
  const char*& place = mapped[process];
  if (place != nullptr) return place;
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(file);
  const int opened = open(path.c_str(), O_RDONLY);
  void* made =
      opened < 0 ? MAP_FAILED : mmap(nullptr, strict::kDeviceBytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, opened, 0);
  if (made == MAP_FAILED) refuse("cannot map the memory of process " + std::to_string(process));
  close(opened);
  return place = static_cast<const char*>(made);
}

}  // namespace

ncclComm* join(const std::string& name, int size, int rank) {
  auto* comm = new ncclComm;
  comm->name = name;
  comm->rank = rank;
  comm->size = size;
  comm->bytes =
      static_cast<size_t>(size) * sizeof(Slot) + static_cast<size_t>(size) * static_cast<size_t>(size) * sizeof(Mail);
  const int file = shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(comm->bytes)) != 0) refuse("no shared memory for " + name);
  void* place = mmap(nullptr, comm->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (place == MAP_FAILED) refuse("no shared memory for " + name);
  close(file);
  comm->slots = static_cast<Slot*>(place);
  comm->mails = reinterpret_cast<Mail*>(comm->slots + size);
  comm->slots[rank].process = getpid();
  comm->slots[rank].memory = strict::memory_file();
  comm->meet();
  if (rank == 0) shm_unlink(name.c_str());
  for (int r = 0; r < size; ++r) comm->memory.push_back(memory_of(comm->slots[r].process, comm->slots[r].memory));
  return comm;
}

}  // namespace strict
