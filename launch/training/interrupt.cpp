#include "launch/training/interrupt.h"

namespace launch {
namespace {

// A handler may touch nothing else; one run a process.
volatile std::sig_atomic_t interrupt_requested = 0;

void request(int) { interrupt_requested = 1; }

}  // namespace

Interrupt::Interrupt(bool alone) : alone_(alone) {
  interrupt_requested = 0;
  struct sigaction action = {};
  action.sa_handler = request;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &previous_user_);
  if (!alone_) return;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGTERM, &action, &previous_terminate_);
}

Interrupt::~Interrupt() {
  sigaction(SIGUSR1, &previous_user_, nullptr);
  if (!alone_) return;
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
}

bool Interrupt::requested() const { return interrupt_requested != 0; }

}  // namespace launch
