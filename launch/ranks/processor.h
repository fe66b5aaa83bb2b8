// defines: use_processor
#pragma once
#include "launch/recipe/run_config.h"

namespace launch {

/// Compute threads, the memory of tensors and the products of experts of this process as a run has them: run.threads,
/// run.keep_memory (parallel/memory/kept_memory.h), run.matrix_products, which is LibTorch's own until it is measured
/// (launch/training/product_choice.h). Memory once kept stays kept, whatever a later run says. UserError where the
/// library is not at hand.
void use_processor(const RunConfig& run);

}  // namespace launch
