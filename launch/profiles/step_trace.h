// A step of one rank as tasks on three resources, measured or predicted: the same form, to be held side by side.
// defines: StepTask, StepTrace, measured_step, predicted_step, StepShares, shares_of
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "parallel/schedule/simulate.h"
#include "parallel/schedule/trace.h"

namespace launch {

struct StepTask {
  parallel::TaskKind kind = parallel::TaskKind::kDense;
  parallel::Resource resource = parallel::Resource::kCompute;
  parallel::Direction direction = parallel::Direction::kForward;
  int64_t layer = -1;  // expert layer; of a dense task the one it leads to, in backward the one it comes after; the
                       // head counts as the layer after the last; -1: of none (a measured slice of gradients)
  int64_t chunk = 0;   // or the number of the slice
  double bytes = 0;    // [byte] that the rank hands in
  int64_t rows = 0;    // measured only
  double begin = 0, end = 0;  // [s] since the rank's own first forward of the update began
  bool operator==(const StepTask&) const = default;
};

struct StepTrace {
  std::vector<StepTask> tasks;  // by begin
  double last_begin = 0;        // [s] when the last micro-batch began, which is what a prediction is of
  double seconds = 0;           // when all gradients had been summed
  bool operator==(const StepTrace&) const = default;
};

/// Of one rank. Compute that is not an expert's becomes dense tasks: what lies between the calls of expert layers, and
/// in a call the moments in which neither its experts nor its exchanges were under way. (Collectives of the dense part,
/// as in a tensor group, are in there.) `layers`: the model's expert layers. one_link: as the plan has it.
StepTrace measured_step(const parallel::Trace& trace, int64_t layers, bool one_link);

/// The simulator's, from `begin` on. layer_of_call: the profile's; `layers`: the model's expert layers.
StepTrace predicted_step(const parallel::Timeline& timeline, const std::vector<int64_t>& layer_of_call, int64_t layers,
                         double begin);

/// Of the last micro-batch [s].
struct StepShares {
  double seconds = 0;
  std::array<double, parallel::kResources> busy = {};  // by Resource; what goes on at once counts once
  double exposed = 0, hidden = 0;                      // a link was busy while compute stood still, or worked
};
StepShares shares_of(const StepTrace& step);

}  // namespace launch
