// defines: GradientReducerTest, backward_of: what the tests of the reducer share
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <vector>

#include "parallel/gradients/gradient_reducer.h"
#include "tests/support/recording_communicator.h"
#include "tests/support/world.h"

namespace parallel {

inline void backward_of(const at::Tensor& loss) { torch::autograd::backward({loss}, {}); }

class GradientReducerTest : public testing::Test {
 protected:
  /// Leaves of `sizes` elements each, all ones.
  static std::vector<at::Tensor> leaves(const std::vector<int64_t>& sizes, at::ScalarType type = at::kDouble) {
    std::vector<at::Tensor> parameters;
    for (const int64_t size : sizes) parameters.push_back(at::ones({size}, type).requires_grad_(true));
    return parameters;
  }

  /// The slope of this rank's loss in parameter i, in micro-batch m: whole numbers, so that sums are exact.
  static double slope(int64_t rank, size_t i, int64_t m) {
    return static_cast<double>(100 * (rank + 1) + 10 * static_cast<int64_t>(i) + m);
  }

  /// sum over i of slope_i * sum(parameter_i).
  at::Tensor loss(const std::vector<at::Tensor>& parameters, int64_t m = 0) const {
    at::Tensor total;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor term = parameters[i].sum() * slope(rank_, i, m);
      total = total.defined() ? total + term : term;
    }
    return total;
  }

  /// The gradient of parameter i over all ranks and `micro_batches` micro-batches.
  double total_slope(size_t i, int64_t micro_batches) const {
    double total = 0;
    for (int64_t r = 0; r < size_; ++r) {
      for (int64_t m = 0; m < micro_batches; ++m) total += slope(r, i, m);
    }
    return total;
  }

  void expect_totals(const GradientReducer& reducer, const std::vector<at::Tensor>& parameters,
                     int64_t micro_batches) const {
    for (size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_EQ(reducer.gradient(i).sizes(), parameters[i].sizes());
      EXPECT_TRUE(reducer.gradient(i).eq(total_slope(i, micro_batches)).all().item<bool>())
          << "parameter " << i << ": " << reducer.gradient(i).flatten()[0].item<double>() << " against "
          << total_slope(i, micro_batches);
    }
  }

  void run_update(GradientReducer& reducer, const std::vector<at::Tensor>& parameters, int64_t micro_batches) const {
    reducer.zero();
    for (int64_t m = 0; m < micro_batches; ++m) {
      reducer.expect(m == micro_batches - 1);
      backward_of(loss(parameters, m));
      reducer.end_micro_batch();
    }
    reducer.finish();
  }

  std::shared_ptr<RecordingCommunicator> group_ = std::make_shared<RecordingCommunicator>(test_world()->duplicate());
  int64_t rank_ = group_->rank(), size_ = group_->size();
};

}  // namespace parallel
