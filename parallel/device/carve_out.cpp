#include "parallel/device/carve_out.h"

#include <ATen/Context.h>

namespace parallel {

CarveOut::CarveOut(int64_t multiprocessors) : set_(multiprocessors > 0) {
  if (!set_) return;
  before_ = at::globalContext()._SMCarveout_EXPERIMENTAL();
  at::globalContext()._setSMCarveout_EXPERIMENTAL(static_cast<int32_t>(multiprocessors));
}

CarveOut::~CarveOut() {
  if (set_) at::globalContext()._setSMCarveout_EXPERIMENTAL(before_);
}

}  // namespace parallel
