// defines: rope_keys: rotary positions in config.json
#pragma once
#include "launch/interchange/config_keys.h"
#include "launch/interchange/model_shape.h"

namespace launch::interchange {

/// rope_parameters as transformers 5 writes them, or rope_theta and rope_scaling as published folders have them (which
/// win where both stand; `otherwise` where neither does). Kinds: default, linear, llama3, yarn, each with its factors.
/// `theta` where none is given. UserError: another kind, another key of a kind, factors that moetrain has not.
void rope_keys(ConfigKeys& keys, ModelShape& shape, double theta, const Json& otherwise = {});

}  // namespace launch::interchange
