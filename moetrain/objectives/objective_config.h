// defines: ObjectiveConfig, visit
#pragma once
#include <cstdint>
#include <string>

#include "parallel/base/field.h"
#include "parallel/base/weight.h"

namespace moetrain {

struct ObjectiveConfig {
  std::string kind = "next_token";
  double label_smoothing = 0.0;
  parallel::Weight consistency = 1.0;
  std::string teacher;
  parallel::Weight distillation = 1.0;
  double temperature = 1.0;
};

template <class Visitor>
void visit(ObjectiveConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(),
        "next_token: cross-entropy; two_pass: THOR's consistency of two passes; distillation: with a teacher");
  field("label_smoothing", config.label_smoothing, half_open(0, 1), "share of a target spread over the vocabulary");
  field("consistency", config.consistency, at_least(0), "two_pass: weight of the symmetric KL divergence (THOR: 5)");
  field("teacher", config.teacher, anything(), "distillation: run folder of the teacher");
  field("distillation", config.distillation, at_least(0),
        "distillation: weight of the KL divergence from the teacher; \"1 until 600u\" lets it go");
  field("temperature", config.temperature, above(0), "distillation: of both softmaxes");
}

}  // namespace moetrain
