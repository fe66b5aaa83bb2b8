// defines: Phase, PhaseName, in_phase, PhaseClock: what a process is at, told to whoever listens
#pragma once
#include <ATen/record_function.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace parallel {

/// What an update's time is split into. kPermute: tokens to rows in the order of their experts, where these do not
/// gather them by themselves (GatheringCompute), and those rows' gradients back; kCombine: results to tokens, weighted,
/// and the gradients of both; kDispatch: rows on their way to other ranks and back, and what nothing else of a layer of
/// experts accounts for.
enum class PhaseName { kRoute, kPermute, kDispatch, kExperts, kCombine, kFeedForward, kAttention, kHead, kOptimizer };
constexpr std::array<const char*, 9> names_of(PhaseName) {
  return {"route", "permute", "dispatch", "experts", "combine", "feed_forward", "attention", "head", "optimizer"};
}

/// Marks the scope it lives in. Costs nothing to speak of where nobody listens; LibTorch's profilers show it by its
/// name.
class Phase {
 public:
  explicit Phase(PhaseName name);

 private:
  at::RecordFunction marked_;
};

/// What `action` gives, in that phase.
template <class Action>
auto in_phase(PhaseName name, Action&& action) {
  const Phase phase(name);
  return action();
}

/// Takes this thread's time by phases, as long as it lives: each moment is of the innermost. A node of backward is of
/// the phase that forward made it in, unless it opens one itself (on the CPU backward runs on the thread that asks for
/// it). One at a time on a thread.
class PhaseClock {
 public:
  PhaseClock();
  ~PhaseClock();
  PhaseClock(const PhaseClock&) = delete;
  PhaseClock& operator=(const PhaseClock&) = delete;

  /// [s] of each phase by its name since the start or the last call, "other" the rest; phases that took none too.
  std::vector<std::pair<std::string, double>> take();

 private:
  static constexpr size_t kOther = names_of(PhaseName{}).size();
  /// Nodes of backward whose sequence numbers are in [begin, end) were made in this phase.
  struct Made {
    uint64_t begin = 0, end = 0;
    size_t phase = kOther;
  };
  struct Scope;
  static std::unique_ptr<at::ObserverContext> opened(const at::RecordFunction& function);
  static void closed(const at::RecordFunction& function, at::ObserverContext* context);
  void turn_to(size_t phase);
  size_t phase_of_node(uint64_t sequence) const;

  std::array<double, kOther + 1> seconds_{};
  std::vector<size_t> open_{kOther};
  std::vector<Made> made_;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  at::CallbackHandle handle_ = 0;
};

}  // namespace parallel
