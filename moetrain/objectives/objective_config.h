// defines: ObjectiveConfig, visit
#pragma once
#include <string>

#include "parallel/base/own_keys.h"

namespace moetrain {

/// What every objective is told; what only one knows stands beside it.
struct ObjectiveConfig : parallel::HasOwnKeys {
  std::string kind = "next_token";
  double label_smoothing = 0.0;
};

template <class Visitor>
void visit(ObjectiveConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(),
        "next_token: cross-entropy, of a classifier's classes too; two_pass: THOR's consistency of two passes; "
        "distillation: with a teacher; pre_gate: what teaches a router at the model's entrance; rectified_flow: of "
        "images, the direction from them to noise; ddpm: of images, the noise of a step, and its variance");
  field("label_smoothing", config.label_smoothing, half_open(0, 1), "share of a target spread over the vocabulary");
}

}  // namespace moetrain
