// defines: Interrupt: a signal that asks the run to save and end
#pragma once
#include <csignal>

namespace launch {

/// While it lives, SIGUSR1 asks for a save at the next update's end (mpirun forwards it; launch/run sends it), and so
/// does SIGTERM (srun's scancel; under mpirun SIGKILL follows a second later). Of a process that no launcher watches
/// SIGINT asks the same. A SIGTERM or SIGINT after the first request kills.
class Interrupt {
 public:
  explicit Interrupt(bool alone = false);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  bool requested() const;

 private:
  struct sigaction previous_user_, previous_interrupt_, previous_terminate_;
  bool alone_;
};

}  // namespace launch
