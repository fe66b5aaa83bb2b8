// Products of rows that the host was not told the numbers of, on a GPU or what stands in its place (tests/gpu/check,
// tests/figures/strict_device): in bf16 against float64 of each expert by itself.
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "moetrain/products/grouped_gemm.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/device_library.h"
#include "tests/support/random_tensor.h"

namespace {

using Numbers = std::vector<int64_t>;

constexpr int64_t kIn = 64, kOut = 48;
constexpr int64_t kIdle = 9;     // rows behind those of all experts, which are nobody's
constexpr double kBar = 0x1p-7;  // of the largest: what bf16 rounds off, twice

at::Device chosen_device() {
  const char* wanted = std::getenv("MOETRAIN_DEVICE");
  const bool cpu = wanted != nullptr && std::string(wanted) == "cpu";
  return cpu ? at::Device(at::kCPU) : parallel::open_accelerator(0);
}

void expect_close(const at::Tensor& got, const at::Tensor& expected, const std::string& what) {
  const at::Tensor apart = (got.to(at::kCPU, at::kDouble) - expected).abs().max();
  EXPECT_LE(apart.item<double>(), kBar * expected.abs().max().item<double>()) << what;  // not of a NaN
}

void check(const Numbers& rows_E, at::Device device) {
  const auto experts = static_cast<int64_t>(rows_E.size());
  at::Tensor end_E = at::tensor(rows_E, at::kLong).cumsum(0).to(at::kInt);
  const int64_t kept = end_E[-1].item<int64_t>(), all = kept + kIdle;
  const auto halves = [](const char* name, at::IntArrayRef shape) {
    return random_tensor(name, shape).to(at::kBFloat16);
  };
  const at::Tensor rows_RM = halves("rows", {all, kIn}), grad_RN = halves("grad", {all, kOut});
  const at::Tensor weight_EMN = halves("weight", {experts, kIn, kOut});
  at::Tensor out_RN = at::zeros({kept, kOut}, at::kDouble), back_RM = at::zeros({kept, kIn}, at::kDouble);
  at::Tensor gradient_EMN = at::zeros({experts, kIn, kOut}, at::kDouble);
  for (int64_t e = 0, begin = 0; e < experts; begin += rows_E[static_cast<size_t>(e++)]) {
    const int64_t count = rows_E[static_cast<size_t>(e)];
    const at::Tensor rows = rows_RM.narrow(0, begin, count).to(at::kDouble);
    const at::Tensor grad = grad_RN.narrow(0, begin, count).to(at::kDouble), weight = weight_EMN[e].to(at::kDouble);
    out_RN.narrow(0, begin, count).copy_(rows.mm(weight));
    back_RM.narrow(0, begin, count).copy_(grad.mm(weight.t()));
    gradient_EMN[e].copy_(rows.t().mm(grad));
  }
  const at::Tensor rows = rows_RM.to(device), grad = grad_RN.to(device), weight = weight_EMN.to(device);
  const parallel::RowsPerExpert told(rows_E), counted(parallel::send(end_E, device), all);
  for (const parallel::RowsPerExpert& each : {told, counted}) {
    const int64_t given = each.known() ? kept : all;
    const at::Tensor own_rows = rows.narrow(0, 0, given), own_grad = grad.narrow(0, 0, given);
    const std::string what = each.known() ? "told" : "counted there";
    expect_close(moetrain::grouped_mm(own_rows, weight, each).narrow(0, 0, kept), out_RN, what + ", forward");
    expect_close(moetrain::grouped_mm_transposed(own_grad, weight, each).narrow(0, 0, kept), back_RM, what + ", rows");
    // Into a part of wider rows, as experts of several widths keep theirs; and where all is still to be written.
    at::Tensor wide = at::zeros({given, 2 * kOut}, rows.options()), part = wide.narrow(1, kOut, kOut);
    moetrain::grouped_mm_out(part, own_rows, weight, each);
    expect_close(part.narrow(0, 0, kept), out_RN, what + ", in place");
    EXPECT_EQ(wide.narrow(1, 0, kOut).abs().max().item<double>(), 0) << what;
    const at::Tensor gradient = at::full_like(weight, std::numeric_limits<double>::quiet_NaN());
    moetrain::grouped_weight_gradient_out(gradient, own_rows, own_grad, each);
    expect_close(gradient, gradient_EMN, what + ", weights");
  }
  EXPECT_EQ(counted.known(), device.is_cpu() || !parallel::has_grouped_product()) << "the host was to be left alone";
}

TEST(GroupedProducts, OfRowsThatTheHostDoesNotCount) {
  const at::Device device = chosen_device();
  const Numbers loads[] = {{5, 0, 17, 1, 64, 0}, {0, 0, 3}, {300}, {8, 8, 8, 8}, Numbers(100, 2)};
  for (const Numbers& rows_E : loads) check(rows_E, device);
}

}  // namespace
