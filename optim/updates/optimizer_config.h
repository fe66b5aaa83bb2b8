// defines: OptimizerConfig, visit
#pragma once
#include <string>

#include "parallel/base/own_keys.h"

namespace optim {

/// What every update rule is told, and AdamW, which also moves what a rule for matrices does not.
struct OptimizerConfig : parallel::HasOwnKeys {
  std::string kind = "adamw";  // a name of builtin_updates(), or of a table that has more
  double learning_rate = 3e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  double average = 0.0;
  std::string learning_rate_factors;
  bool offload = false;
};

template <class Visitor>
void visit(OptimizerConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(), "what moves the weights");
  field("learning_rate", config.learning_rate, above(0), "peak learning rate; the schedule scales it");
  field("beta1", config.beta1, half_open(0, 1), "AdamW: decay of the first moment");
  field("beta2", config.beta2, half_open(0, 1), "AdamW: decay of the second moment");
  field("epsilon", config.epsilon, above(0), "AdamW: added to the root of the second moment");
  field("weight_decay", config.weight_decay, at_least(0),
        "decoupled decay of matrices; norms and gains are never decayed");
  field("clip_norm", config.clip_norm, at_least(0), "largest global gradient norm; 0: no clipping");
  field("average", config.average, half_open(0, 1),
        "decay of a running mean of the weights, which a trained model is loaded with; 0: none, DiT: 0.9999");
  field("learning_rate_factors", config.learning_rate_factors, anything(),
        "on the learning rate of parameters, by patterns of their names, of which the first that fits holds: "
        "\"*lora_b: 16, embedding.*: 0.1\"; 0: they stay as they are, but see train.frozen");
  field("offload", config.offload, anything(),
        "of a CUDA run: moments and float32 master weights lie in the host's memory, and are updated there");
}

}  // namespace optim
