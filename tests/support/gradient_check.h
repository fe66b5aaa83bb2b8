// defines: expect_gradients: autograd against central differences
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

/// `function` maps the inputs (float64 leaves that require gradients) to a scalar. Every element of every input is
/// moved by +-step, or `samples` elements spread evenly where an input has more.
inline void expect_gradients(const std::function<at::Tensor()>& function, const std::vector<at::Tensor>& inputs,
                             double tolerance = 1e-6, int64_t samples = 64) {
  for (at::Tensor input : inputs) input.mutable_grad() = at::Tensor();
  torch::autograd::backward({function()}, {});
  const at::NoGradGuard no_gradient;
  constexpr double kStep = 1e-6;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(inputs[i].grad().defined()) << "input " << i << " got no gradient";
    double* value = inputs[i].mutable_data_ptr<double>();
    const at::Tensor gradient = inputs[i].grad().contiguous();
    const int64_t stride = std::max<int64_t>(1, inputs[i].numel() / samples);
    for (int64_t e = 0; e < inputs[i].numel(); e += stride) {
      const double kept = value[e];
      value[e] = kept + kStep;
      const double above = function().item<double>();
      value[e] = kept - kStep;
      const double below = function().item<double>();
      value[e] = kept;
      const double slope = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradient.const_data_ptr<double>()[e], slope, tolerance * std::max(1.0, std::abs(slope)))
          << "input " << i << ", element " << e;
    }
  }
}
