// A rank that never starts keeps the others inside MPI_Init, where nobody can tell them: they find out by themselves.
// defines: StartWatch, HostArrivals, host_arrivals, late_message
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel/process/deadline.h"
#include "parallel/process/launcher.h"

namespace parallel {

/// What one host can see of a start without MPI.
struct HostArrivals {
  std::string host;
  std::vector<int64_t> arrived;              // ranks of this job here that are starting MPI, ascending
  std::map<int64_t, std::string> elsewhere;  // rank -> the program that runs in its place: "sleep (process 12)"
  bool complete(const Launch& launch) const { return static_cast<int64_t>(arrived.size()) >= launch.host_ranks; }
};

/// Reads /proc: a rank has arrived where a process with its number in this job has a thread of StartWatch.
HostArrivals host_arrivals(const Launch& launch);

/// What to print after `seconds` in vain. `initialized`: MPI_Init has returned here, but no message gets through.
std::string late_message(const Launch& launch, const HostArrivals& here, double seconds, bool initialized);

/// From before MPI starts until the first message from every rank has come: where that takes longer than `seconds`,
/// one rank of each host prints who is missing there, and the process ends with `exit_code`, which ends the job. Hosts
/// whose ranks are all there speak two seconds later, so that the host to blame speaks first. Does nothing without a
/// launcher.
class StartWatch {
 public:
  StartWatch(double seconds, int exit_code);
  void mpi_initialized() { initialized_ = true; }

 private:
  void report(double limit, int exit_code) const;

  const Launch launch_;
  std::atomic<bool> initialized_ = false;
  std::optional<Deadline> deadline_;
};

}  // namespace parallel
