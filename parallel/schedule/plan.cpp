#include "parallel/schedule/plan.h"

#include <iomanip>
#include <sstream>

#include "parallel/base/fault.h"

namespace parallel {

std::string to_string(GradientRelease release) {
  switch (release) {
    case GradientRelease::kAfterBackward:
      return "after_backward";
    case GradientRelease::kWhenReady:
      return "when_ready";
    case GradientRelease::kPlanned:
      return "planned";
  }
  throw InternalError("a gradient release that has no name");
}

std::string to_text(const Plan& plan) {
  std::ostringstream text;
  text << "plan " << plan.name << ": " << (plan.overlap ? "overlap" : "no overlap") << ", "
       << (plan.one_link ? "one link" : "two links") << ", gradients " << to_string(plan.release);
  if (plan.slice_bytes > 0) text << " in slices of " << plan.slice_bytes << " bytes";
  if (plan.carve_out > 0) text << ", " << plan.carve_out << " multiprocessors left to exchanges";
  text << "\n";
  if (plan.layers.empty()) {
    text << "every layer in 1 chunk\n";
    return text.str();
  }
  text << "layer  forward chunks  backward chunks  gradient bytes in MoE  in dense part\n";
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    text << std::setw(5) << i << std::setw(16) << layer.forward_chunks << std::setw(17) << layer.backward_chunks
         << std::setw(23) << layer.moe_gradient_bytes << std::setw(15) << layer.dense_gradient_bytes << "\n";
  }
  return text.str();
}

}  // namespace parallel
