#include "launch/ranks/processor.h"

#include <ATen/Parallel.h>

#include "parallel/memory/kept_memory.h"

namespace launch {

void use_processor(const RunConfig& run) {
  at::set_num_threads(static_cast<int>(run.threads));
  if (run.keep_memory && run.device == Device::kCpu) parallel::KeptMemory::install();
}

}  // namespace launch
