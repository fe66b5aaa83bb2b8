// defines: recompute, will_be_replayed, TensorFunction: a part of a forward pass whose activations are made again in
// backward
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace parallel {

using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

/// first(inputs), differentiable, but of the part only its inputs are kept: backward calls again(inputs), which must
/// give the same tensors (the same draws, the same choices), and takes its gradient at once (Chen et al. 2016).
/// `first` is called here, once, and `again` in each backward.
///
/// The gradients of `parameters`, all that the part uses, come out of this node like those of the inputs, so that they
/// are summed with those of other uses, and a parameter's hooks fire once in a backward; one that the part did not
/// reach gets zeros. What `again` reads besides its inputs and parameters gets no gradient. Inputs and outputs may be
/// undefined; outputs are floating-point.
///
/// Where the part is collective, its collectives run once more in backward, on all ranks in the order of their graphs:
/// parts that were made in the same order on every rank come back in the reverse one. Without gradients to come this
/// is first(inputs).
std::vector<at::Tensor> recompute(const TensorFunction& first, TensorFunction again,
                                  const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& parameters);

/// Whether what this thread computes now, without gradients, will be computed again with them: it must then be computed
/// the same way.
bool will_be_replayed();

}  // namespace parallel
