// defines: prepare_parallel
#pragma once
#include "data/prepare/prepare.h"

namespace data {

/// prepare() for options.parallel. @pre: the options are checked, the output is writable
PrepareSummary prepare_parallel(const PrepareOptions& options);

}  // namespace data
