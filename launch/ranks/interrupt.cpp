#include "launch/ranks/interrupt.h"

namespace launch {
namespace {

// A handler may touch nothing else; one run a process.
volatile std::sig_atomic_t interrupt_requested = 0;

/// A terminal that closes may send SIGHUP twice: by its shell and by the kernel.
void request(int number) {
  if (interrupt_requested != 0 && number != SIGUSR1 && number != SIGHUP) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  interrupt_requested = 1;
}

}  // namespace

Interrupt::Interrupt(bool alone) : alone_(alone) {
  interrupt_requested = 0;
  struct sigaction action = {};
  action.sa_handler = request;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &previous_user_);
  sigaction(SIGTERM, &action, &previous_terminate_);
  if (alone_) sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGHUP, &action, &previous_hangup_);
  if (previous_hangup_.sa_handler == SIG_IGN) sigaction(SIGHUP, &previous_hangup_, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, &previous_pipe_);
}

Interrupt::~Interrupt() {
  sigaction(SIGUSR1, &previous_user_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
  if (alone_) sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGHUP, &previous_hangup_, nullptr);
  sigaction(SIGPIPE, &previous_pipe_, nullptr);
}

bool Interrupt::requested() const { return interrupt_requested != 0; }

}  // namespace launch
