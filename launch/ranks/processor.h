// defines: use_processor, slow_precision
#pragma once
#include <string>

#include "launch/recipe/run_config.h"

namespace launch {

/// Compute threads, the memory of tensors and the products of experts of this process as a run has them: run.threads,
/// run.keep_memory (parallel/memory/kept_memory.h), run.matrix_products, which is LibTorch's own until it is measured
/// (launch/training/product_choice.h). Memory once kept stays kept, whatever a later run says. UserError where the
/// library is not at hand.
void use_processor(const RunConfig& run);

/// What to say of bf16 on a processor that has no instructions for it, with how much longer a product then takes than
/// in float32, measured (some milliseconds); empty where it is no slower, and of any other run. On this process's
/// threads.
std::string slow_precision(const RunConfig& run);

}  // namespace launch
