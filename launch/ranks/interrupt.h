// defines: Interrupt: a signal that asks the run to save and end
#pragma once
#include <csignal>

namespace launch {

/// While it lives, SIGUSR1 asks for a save at the next update's end (mpirun forwards it; launch/run sends it), and so
/// do SIGTERM (srun's scancel; under mpirun SIGKILL follows a second later) and SIGHUP (its terminal is gone; not where
/// nohup had it ignored). Of a process that no launcher watches SIGINT asks the same. A SIGTERM or SIGINT after the
/// first request kills. A pipe that nobody reads any more does not kill (SIGPIPE): ProgressDisplay::reader_gone()
/// tells.
class Interrupt {
 public:
  explicit Interrupt(bool alone = false);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  bool requested() const;

 private:
  struct sigaction previous_user_, previous_interrupt_, previous_terminate_, previous_hangup_, previous_pipe_;
  bool alone_;
};

}  // namespace launch
