// defines: OverlapSchedule, OverlapConfig, visit: what goes on beside what
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "parallel/base/field.h"
#include "parallel/base/span.h"
#include "parallel/schedule/plan.h"

namespace launch {

/// The first two are made from no costs; the others are those of parallel::builtin_schedules(), by their names there.
enum class OverlapSchedule {
  kEager,
  kChunked,
  kPlanned,
  kSequential,
  kTutel,
  kTutelImproved,
  kLina,
  kFsmoeNoSplit,
  kFsmoe
};
constexpr std::array<const char*, 9> names_of(OverlapSchedule) {
  return {"eager", "chunked", "planned", "sequential", "tutel", "tutel_improved", "lina", "fsmoe_no_split", "fsmoe"};
}

/// When the ranks exchange what, and never what they compute.
struct OverlapConfig {
  parallel::Enum<OverlapSchedule> schedule = OverlapSchedule::kEager;
  int64_t forward_chunks = 1;
  int64_t backward_chunks = 1;
  int64_t carve_out = 16;
  std::string plan;
  double profile_seconds = 10;
  parallel::Span replan_every{0, parallel::Unit::kUpdates};
  int64_t trace_update = 0;
};

template <class Visitor>
void visit(OverlapConfig& config, Visitor& field) {
  using namespace parallel;
  field(
      "schedule", config.schedule, anything(),
      "eager: experts in one piece, gradients sent as they come up; chunked: experts in forward_chunks and "
      "backward_chunks; planned: chunks and places of gradients from a profile of these ranks; published ones from the "
      "same profile: sequential (DeepSpeed-MoE), tutel, tutel_improved, lina, fsmoe_no_split, fsmoe");
  field("forward_chunks", config.forward_chunks, between(1, 256), "chunked: pieces of a layer's rows in forward");
  field("backward_chunks", config.backward_chunks, between(1, 256), "chunked: pieces of a layer's rows in backward");
  field("carve_out", config.carve_out, between(0, parallel::kMostCarvedOut),
        "multiprocessors of a GPU that exchanges keep to, and that experts in several chunks leave to them, where a "
        "profile finds that faster (chunked: always); 0: never");
  field("plan", config.plan, anything(), "a plan's file (plan.json of a run folder), to be followed without a profile");
  field("profile_seconds", config.profile_seconds, between(0.1, 3600), "what measuring these ranks may take [s]");
  field("replan_every", config.replan_every, anything(),
        "between two profiles, each of which may change the plan; 0u: one plan for the whole run");
  field("trace_update", config.trace_update, at_least(0),
        "the update whose tasks are written to trace.json (opens in Perfetto) and drawn in the report; 0: none");
}

}  // namespace launch
