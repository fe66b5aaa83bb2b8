#include "parallel/phases/phase.h"

#include <ATen/SequenceNumber.h>

#include <algorithm>
#include <memory>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

constexpr auto kPhaseNames = names_of(PhaseName{});

thread_local PhaseClock* listening = nullptr;

/// By its name; the number of all of them where it is none of ours.
size_t phase_named(std::string_view name) {
  return static_cast<size_t>(std::ranges::find(kPhaseNames, name) - kPhaseNames.begin());
}

}  // namespace

Phase::Phase(PhaseName name) : marked_(at::RecordScope::USER_SCOPE) {
  if (marked_.isActive()) marked_.before(kPhaseNames[static_cast<size_t>(name)], /*current_sequence_nr=*/-1);
}

/// Of one phase or node of backward, from its beginning to its end.
struct PhaseClock::Scope : at::ObserverContext {
  bool counts = false;
  uint64_t first_node = 0;
};

PhaseClock::PhaseClock() {
  check_internal(listening == nullptr, "two clocks of phases on one thread");
  listening = this;
  handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&opened, &closed)
                                           .scopes({at::RecordScope::USER_SCOPE, at::RecordScope::BACKWARD_FUNCTION}));
}

PhaseClock::~PhaseClock() {
  at::removeCallback(handle_);
  listening = nullptr;
}

void PhaseClock::turn_to(size_t phase) {
  const auto now = std::chrono::steady_clock::now();
  seconds_[open_.back()] += std::chrono::duration<double>(now - std::exchange(since_, now)).count();
  open_.push_back(phase);
}

size_t PhaseClock::phase_of_node(uint64_t sequence) const {
  const Made* narrowest = nullptr;
  for (const Made& made : made_) {
    if (sequence < made.begin || sequence >= made.end) continue;
    if (narrowest == nullptr || made.end - made.begin < narrowest->end - narrowest->begin) narrowest = &made;
  }
  return narrowest == nullptr ? kOther : narrowest->phase;
}

std::unique_ptr<at::ObserverContext> PhaseClock::opened(const at::RecordFunction& function) {
  auto scope = std::make_unique<Scope>();
  if (listening == nullptr) return scope;
  if (function.scope() == at::RecordScope::USER_SCOPE) {
    const size_t phase = phase_named(function.name());
    if (phase == kOther) return scope;  // somebody else's
    scope->first_node = at::sequence_number::peek();
    listening->turn_to(phase);
  } else {
    listening->turn_to(listening->phase_of_node(static_cast<uint64_t>(function.seqNr())));
  }
  scope->counts = true;
  return scope;
}

void PhaseClock::closed(const at::RecordFunction& function, at::ObserverContext* context) {
  const auto* scope = static_cast<const Scope*>(context);
  if (listening == nullptr || scope == nullptr || !scope->counts) return;
  PhaseClock& clock = *listening;
  clock.turn_to(kOther);  // counts the time of what ends
  clock.open_.pop_back();
  const size_t phase = clock.open_.back();
  clock.open_.pop_back();
  const uint64_t next_node = at::sequence_number::peek();
  if (function.scope() == at::RecordScope::USER_SCOPE && next_node > scope->first_node)
    clock.made_.push_back({scope->first_node, next_node, phase});
}

std::vector<std::pair<std::string, double>> PhaseClock::take() {
  turn_to(kOther);
  open_.pop_back();
  std::vector<std::pair<std::string, double>> taken;
  for (size_t i = 0; i <= kOther; ++i) {
    taken.emplace_back(i < kOther ? kPhaseNames[i] : "other", std::exchange(seconds_[i], 0.0));
  }
  if (open_.size() == 1) made_.clear();  // their nodes have run
  return taken;
}

}  // namespace parallel
