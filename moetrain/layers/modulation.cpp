#include "moetrain/layers/modulation.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {

Modulation::Modulation(const ParameterSource& source, int64_t width, bool gated)
    : parts_(gated ? 3 : 2),
      weight_MD_(register_parameter("weight", source.constant("weight", {parts_ * width, width}, 0))),
      bias_M_(register_parameter("bias", source.constant("bias", {parts_ * width}, 0))) {}

Modulated Modulation::forward(const at::Tensor& condition_SD, const BatchScope& scope) const {
  parallel::check_internal(condition_SD.defined(), "Modulation: there is no condition");
  const at::Tensor of_sequence_S = at::linear(at::silu(condition_SD), weight_MD_, bias_M_);
  const at::Tensor own_T = parallel::send(scope.parts.own(scope.sequences->sequence_T()), condition_SD.device());
  const std::vector<at::Tensor> chunks = of_sequence_S.index_select(0, own_T).chunk(parts_, 1);
  return {chunks[0], chunks[1], parts_ == 3 ? chunks[2] : at::Tensor()};
}

}  // namespace moetrain
