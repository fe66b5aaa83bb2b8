#include <algorithm>
#include <cmath>

#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

template <class Number>
class ActivationKernels : public testing::Test {};
using Types = testing::Types<float, double, Bfloat16>;
TYPED_TEST_SUITE(ActivationKernels, Types);

const DeviceKernels& kernels() { return *compiled_kernels(); }

// Around a piece, a warp and a block, and with beginnings that no piece has.
constexpr int64_t kCounts[] = {0, 1, 2, 3, 7, 8, 9, 31, 33, 255, 257, 2047, 2049, 4100};
constexpr size_t kSkips[] = {0, 1};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double below(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0)); }

/// |got - wanted| <= 8 units of `scale`
template <class Number>
void expect_near(Number got, double wanted, double scale) {
  EXPECT_NEAR(exact(got), wanted, 8 * unit_of<Number>() * scale + 1e-37);
}

TYPED_TEST(ActivationKernels, Swiglu) {
  for (const int64_t count : kCounts) {
    for (const size_t skip : kSkips) {
      const auto gate = numbers<TypeParam>("gate", count, 3), up = numbers<TypeParam>("up", count);
      const DeviceBuffer<TypeParam> gate_there(gate, skip), up_there(up, skip), out(gate.size(), skip);
      expect_no_fault(
          kernels().swiglu({kElement<TypeParam>, count, gate_there.data(), up_there.data(), out.data()}, {}));
      const auto got = out.on_host();
      for (size_t i = 0; i < got.size(); ++i) {
        const double wanted = exact(gate[i]) * sigmoid(exact(gate[i])) * exact(up[i]);
        expect_near(got[i], wanted, std::abs(wanted));
      }
    }
  }
}

TYPED_TEST(ActivationKernels, SwigluIntoItsGate) {
  const auto gate = numbers<TypeParam>("gate", 1001, 3), up = numbers<TypeParam>("up", 1001);
  const DeviceBuffer<TypeParam> gate_there(gate), up_there(up);
  expect_no_fault(
      kernels().swiglu({kElement<TypeParam>, 1001, gate_there.data(), up_there.data(), gate_there.data()}, {}));
  const auto got = gate_there.on_host();
  for (size_t i = 0; i < got.size(); ++i) {
    const double wanted = exact(gate[i]) * sigmoid(exact(gate[i])) * exact(up[i]);
    expect_near(got[i], wanted, std::abs(wanted));
  }
}

TYPED_TEST(ActivationKernels, SwigluBackward) {
  for (const int64_t count : kCounts) {
    for (const size_t skip : kSkips) {
      const auto grad = numbers<TypeParam>("grad", count), gate = numbers<TypeParam>("gate", count, 3),
                 up = numbers<TypeParam>("up", count);
      const DeviceBuffer<TypeParam> above(grad, skip), gate_there(gate, skip), up_there(up, skip),
          of_gate(gate.size(), skip), of_up(gate.size(), skip);
      expect_no_fault(kernels().swiglu_backward(
          {kElement<TypeParam>, count, above.data(), gate_there.data(), up_there.data(), of_gate.data(), of_up.data()},
          {}));
      const auto got_gate = of_gate.on_host(), got_up = of_up.on_host();
      for (size_t i = 0; i < gate.size(); ++i) {
        const double g = exact(grad[i]), x = exact(gate[i]), y = exact(up[i]), s = sigmoid(x);
        expect_near(got_gate[i], g * y * s * (1 + x * (1 - s)), std::abs(g * y) * s * (1 + std::abs(x)));
        expect_near(got_up[i], g * x * s, std::abs(g * x * s));
      }
    }
  }
}

TYPED_TEST(ActivationKernels, SwigluBackwardOverItsInputsMakesTheSameBitsAndWhatSwigluMade) {
  for (const int64_t count : kCounts) {
    const auto grad = numbers<TypeParam>("grad", count), gate = numbers<TypeParam>("gate", count, 3),
               up = numbers<TypeParam>("up", count);
    const DeviceBuffer<TypeParam> above(grad), gate_there(gate), up_there(up), made(gate.size()), again(gate.size()),
        of_gate(gate.size()), of_up(gate.size());
    expect_no_fault(
        kernels().swiglu({kElement<TypeParam>, count, gate_there.data(), up_there.data(), made.data()}, {}));
    expect_no_fault(kernels().swiglu_backward(
        {kElement<TypeParam>, count, above.data(), gate_there.data(), up_there.data(), of_gate.data(), of_up.data()},
        {}));
    expect_no_fault(kernels().swiglu_backward({kElement<TypeParam>, count, above.data(), gate_there.data(),
                                               up_there.data(), gate_there.data(), up_there.data(), again.data()},
                                              {}));
    const auto expect_same = [](const auto& got, const auto& wanted) {
      for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(exact(got[i]), exact(wanted[i])) << i;
    };
    expect_same(again.on_host(), made.on_host());
    expect_same(gate_there.on_host(), of_gate.on_host());
    expect_same(up_there.on_host(), of_up.on_host());
  }
}

TYPED_TEST(ActivationKernels, ClampedSwigluAndItsSlopes) {
  const double limit = 2, slope = 1.702;  // so that many are held
  for (const int64_t count : kCounts) {
    for (const size_t skip : kSkips) {
      const auto grad = numbers<TypeParam>("grad", count), gate = numbers<TypeParam>("gate", count, 3),
                 up = numbers<TypeParam>("up", count, 3);
      const DeviceBuffer<TypeParam> above(grad, skip), gate_there(gate, skip), up_there(up, skip),
          out(gate.size(), skip), of_gate(gate.size(), skip), of_up(gate.size(), skip);
      expect_no_fault(kernels().clamped_swiglu(
          {kElement<TypeParam>, count, limit, slope, gate_there.data(), up_there.data(), out.data()}, {}));
      expect_no_fault(
          kernels().clamped_swiglu_backward({kElement<TypeParam>, count, limit, slope, above.data(), gate_there.data(),
                                             up_there.data(), of_gate.data(), of_up.data()},
                                            {}));
      const auto got = out.on_host(), got_gate = of_gate.on_host(), got_up = of_up.on_host();
      for (size_t i = 0; i < gate.size(); ++i) {
        const double a = exact(grad[i]), g = std::min(exact(gate[i]), limit);
        const double u = std::clamp(exact(up[i]), -limit, limit), s = sigmoid(slope * g);
        expect_near(got[i], (u + 1) * g * s, (1 + std::abs(u)) * std::abs(g) * s);
        const double wanted_gate = exact(gate[i]) > limit ? 0 : a * (u + 1) * s * (1 + slope * g * (1 - s));
        expect_near(got_gate[i], wanted_gate, std::abs(a) * (1 + std::abs(u)) * s * (1 + slope * std::abs(g)));
        expect_near(got_up[i], std::abs(exact(up[i])) > limit ? 0 : a * g * s, std::abs(a * g * s));
      }
    }
  }
}

TYPED_TEST(ActivationKernels, GeluBackwardOverItsInputMakesTheSameBits) {
  for (const int64_t count : kCounts) {
    const auto grad = numbers<TypeParam>("grad", count), x = numbers<TypeParam>("x", count, 3);
    const DeviceBuffer<TypeParam> above(grad), input(x), slope(x.size());
    expect_no_fault(
        kernels().gelu_backward({kElement<TypeParam>, count, above.data(), input.data(), slope.data()}, {}));
    expect_no_fault(
        kernels().gelu_backward({kElement<TypeParam>, count, above.data(), input.data(), input.data()}, {}));
    const auto got = input.on_host(), wanted = slope.on_host();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(exact(got[i]), exact(wanted[i])) << i;
  }
}

TYPED_TEST(ActivationKernels, GeluAndItsSlope) {
  for (const int64_t count : kCounts) {
    for (const size_t skip : kSkips) {
      const auto grad = numbers<TypeParam>("grad", count), x = numbers<TypeParam>("x", count, 3);
      const DeviceBuffer<TypeParam> above(grad, skip), input(x, skip), out(x.size(), skip), slope(x.size(), skip);
      expect_no_fault(kernels().gelu({kElement<TypeParam>, count, input.data(), out.data()}, {}));
      expect_no_fault(
          kernels().gelu_backward({kElement<TypeParam>, count, above.data(), input.data(), slope.data()}, {}));
      const auto got = out.on_host(), got_slope = slope.on_host();
      for (size_t i = 0; i < x.size(); ++i) {
        const double at = exact(x[i]), g = exact(grad[i]);
        // Relatively exact in the tail, but for x^2 / 2 of rounding of the exponent.
        expect_near(got[i], at * below(at), std::abs(at) * below(at) * (1 + at * at));
        expect_near(got_slope[i], g * (below(at) + at * density(at)), std::abs(g));
      }
    }
  }
}

TYPED_TEST(ActivationKernels, FarOffAndNoNumber) {
  std::vector<TypeParam> gate;
  for (const double x : {-1e30, -200.0, 200.0, 1e30, std::nan("")}) gate.push_back(stored<TypeParam>(x));
  const std::vector<TypeParam> up(gate.size(), stored<TypeParam>(2));
  const DeviceBuffer<TypeParam> gate_there(gate), up_there(up), out(gate.size());
  expect_no_fault(kernels().swiglu({kElement<TypeParam>, 5, gate_there.data(), up_there.data(), out.data()}, {}));
  const auto got = out.on_host();
  EXPECT_NEAR(exact(got[0]), 0, 1e-30);
  EXPECT_NEAR(exact(got[1]), 0, 1e-30);
  expect_near(got[2], 400, 400);
  expect_near(got[3], 2 * exact(gate[3]), 2e30);
  EXPECT_TRUE(std::isnan(exact(got[4])));
}

}  // namespace
}  // namespace parallel
