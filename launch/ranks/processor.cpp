#include "launch/ranks/processor.h"

#include <ATen/Parallel.h>

#include "moetrain/products/product_rule.h"
#include "parallel/base/fault.h"
#include "parallel/memory/kept_memory.h"

namespace launch {

void use_processor(const RunConfig& run) {
  at::set_num_threads(static_cast<int>(run.threads));
  if (run.keep_memory && run.device == Device::kCpu) parallel::KeptMemory::install();
  moetrain::ProductWay way;
  if (run.matrix_products == MatrixProducts::kOneDnn) way.library = moetrain::ProductLibrary::kOneDnn;
  if (run.matrix_products == MatrixProducts::kOpenBlas) way.library = moetrain::ProductLibrary::kOpenBlas;
  if (!moetrain::is_legal(way.library, at::kFloat)) {
    parallel::user_error("run.matrix_products = \"", run.matrix_products, "\" is not at hand (",
                         moetrain::library_facts(), "); legal: libtorch, measured");
  }
  moetrain::use_products({.otherwise = way});
}

}  // namespace launch
