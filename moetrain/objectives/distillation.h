// defines: DistillationConfig, visit
#pragma once
#include <string>

#include "parallel/base/field.h"

namespace moetrain {

/// distillation: cross-entropy plus `weight` times the KL divergence from a frozen teacher at `temperature`, logged as
/// "distillation" (Hinton et al. 2015; MoS, Rajbhandari et al. 2022, lets its teacher go before the end).
struct DistillationConfig {
  std::string teacher;
  parallel::Weight weight = 1.0;
  double temperature = 1.0;
};

template <class Visitor>
void visit(DistillationConfig& config, Visitor& field) {
  using namespace parallel;
  field("teacher", config.teacher, anything(), "run folder of the teacher");
  field("weight", config.weight, at_least(0), "of the KL divergence from the teacher; \"1 until 600u\" lets it go");
  field("temperature", config.temperature, above(0), "of both softmaxes");
}

}  // namespace moetrain
