// What a GPU would do wrong in silence, planted one by one, and beside it the sound way of doing it: Planted tests
// (those OnRanks on two) must fail on the strict device (tests/strict_device), Sound tests pass. Started by
// tests/figures/strict_device.
#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdlib>
#include <cstring>

#include "parallel/comm/stream_work.h"
#include "parallel/device/kernel_call.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/gradients/gradient_reducer.h"
#include "tests/figures/strict_walk.h"

namespace {

using parallel::Communicator;
using parallel::ReduceOp;
using parallel::Work;

// ---- Kernels of our own. ----

TEST(Sound, KernelsOfOurOwnSortGatherAndCombine) {
  ASSERT_NE(parallel::kernels_of(ones()), nullptr);
  const at::Tensor expert_TK = at::arange(3 * 50, at::kLong).mul(7).remainder(5).sub(1).view({50, 3});  // -1: dropped
  const at::Tensor weight_TK = at::arange(150, at::kDouble).div(150).view({50, 3});
  const at::Tensor tokens_TD = at::arange(50 * 9, at::kDouble).sin().view({50, 9});
  std::vector<at::Tensor> found;
  for (const at::Device where : {at::Device(at::kCPU), device()}) {
    const parallel::Permutation order = parallel::sort_by_expert(expert_TK.to(where), 4);
    const at::Tensor rows_RD = parallel::gather_rows(tokens_TD.to(where), order);
    const at::Tensor sum_TD = parallel::combine_rows(rows_RD, weight_TK.to(where), order);
    const auto gradients = parallel::combine_rows_backward(sum_TD, rows_RD, weight_TK.to(where), order);
    for (const at::Tensor& each :
         {order.token_R, order.slot_R, order.row_TK, rows_RD, sum_TD, gradients.rows_RD, gradients.weight_TK}) {
      found.push_back(each.to(at::kCPU, at::kDouble));
    }
  }
  for (size_t i = 0; i < found.size() / 2; ++i) {
    EXPECT_LT((found[i] - found[i + found.size() / 2]).abs().max().item<double>(), 1e-13) << i;
  }
}
TEST(Planted, AKernelThatIsGivenTheHostsMemory) {
  const at::Tensor there = ones(), here = at::ones({1024}, at::kFloat);
  parallel::call(parallel::kernels_of(there)->swiglu,
                 {.element = parallel::Element::kFloat,
                  .count = 1024,
                  .gate = there.const_data_ptr(),
                  .up = here.const_data_ptr(),
                  .out = there.mutable_data_ptr()},
                 device());
}

// ---- Waits. ----

TEST(Sound, AWaitBeforeReading) {
  const at::Tensor sum = ones();
  group()->all_reduce(sum, ReduceOp::kSum).wait();
  expect_all(sum, static_cast<double>(ranks()));
}
TEST(PlantedOnRanks, NoWaitBeforeReading) {
  const at::Tensor sum = ones();
  const Work work = group()->all_reduce(sum, ReduceOp::kSum);
  expect_all(sum, static_cast<double>(ranks()));
}

TEST(Sound, OneGroupAfterAnother) {
  const parallel::RowCounts rows(static_cast<size_t>(ranks()), 4);
  const at::Tensor sent = at::full({4 * ranks(), 8}, 3.0, floats()), received = at::empty_like(sent);
  const at::Tensor all = at::empty({4 * ranks() * ranks(), 8}, floats());
  const parallel::RowCounts whole(static_cast<size_t>(ranks()), 4 * ranks());
  Work first = group()->all_to_all(received, sent, rows, rows);
  other_group()->all_gather_rows(all, received, whole, first.state()).wait();
  expect_all(all, 3.0);
}
TEST(PlantedOnRanks, OneGroupBesideAnother) {
  const parallel::RowCounts rows(static_cast<size_t>(ranks()), 4);
  const at::Tensor sent = at::full({4 * ranks(), 8}, 3.0, floats()), received = at::empty_like(sent);
  const at::Tensor all = at::empty({4 * ranks() * ranks(), 8}, floats());
  const parallel::RowCounts whole(static_cast<size_t>(ranks()), 4 * ranks());
  const Work first = group()->all_to_all(received, sent, rows, rows);
  other_group()->all_gather_rows(all, received, whole, {}).wait();
  expect_all(all, 3.0);
}

TEST(Sound, AnotherStreamBehindItsMaker) {
  const at::Tensor made = ones(), copy = at::zeros_like(made);
  const c10::Stream side = parallel::side_stream(device());
  parallel::StreamMark(parallel::current_stream(device())).hold(side);
  {
    const c10::StreamGuard on_side(side);
    copy.copy_(made);
  }
  parallel::StreamMark(side).hold(parallel::current_stream(device()));
  expect_all(copy, 1);
}
TEST(Planted, AnotherStreamBesideItsMaker) {
  const at::Tensor made = ones(), copy = at::zeros_like(made);
  const c10::Stream side = parallel::side_stream(device());
  {
    const c10::StreamGuard on_side(side);
    copy.copy_(made);
  }
  parallel::StreamMark(side).hold(parallel::current_stream(device()));
  expect_all(copy, 1);
}
TEST(Planted, ReadingBesideAnotherStream) {
  const at::Tensor made = ones(), copy = at::zeros_like(made);
  const c10::Stream side = parallel::side_stream(device());
  parallel::StreamMark(parallel::current_stream(device())).hold(side);
  {
    const c10::StreamGuard on_side(side);
    copy.copy_(made);
  }
  expect_all(copy, 1);
}
TEST(Planted, MemoryGivenBackTooEarly) {
  at::Tensor made = ones();
  const at::Tensor copy = at::zeros_like(made);
  const c10::Stream side = parallel::side_stream(device());
  parallel::StreamMark(parallel::current_stream(device())).hold(side);
  {
    const c10::StreamGuard on_side(side);
    copy.copy_(made);
  }
  made = at::Tensor();
  parallel::StreamMark(side).hold(parallel::current_stream(device()));
  expect_all(copy, 1);
}
TEST(Planted, MemoryWrittenTooEarly) {
  const at::Tensor made = ones(), copy = at::zeros_like(made);
  const c10::Stream side = parallel::side_stream(device());
  parallel::StreamMark(parallel::current_stream(device())).hold(side);
  {
    const c10::StreamGuard on_side(side);
    copy.copy_(made);
  }
  made.fill_(7);
  parallel::StreamMark(side).hold(parallel::current_stream(device()));
  expect_all(copy, 1);
}
TEST(Planted, WhatWasNeverWritten) { expect_all(at::empty({64}, floats()).mul(0), 0); }

/// Two ranks that come to a reduction and an exchange in other orders, as ranks come to parameters: what the host does
/// before the exchange must not need the other rank.
template <class HostWaits>
void in_other_orders(HostWaits&& host_waits) {
  group(), other_group();  // made in one order
  const at::Tensor reduced = ones(), exchanged = ones();
  Work reduction, exchange;
  const auto reduce = [&] {
    reduction = group()->all_reduce(reduced, ReduceOp::kSum);
    host_waits(reduction);
  };
  const auto go_through_exchange = [&] {
    exchange = other_group()->all_reduce(exchanged, ReduceOp::kSum);
    exchange.wait();
  };
  if (rank() == 0) reduce();
  go_through_exchange();
  if (rank() != 0) reduce();
  reduction.wait();
  expect_all(reduced, static_cast<double>(ranks()));
  expect_all(exchanged, static_cast<double>(ranks()));
}
TEST(Sound, AWaitForWhatThisRankComputes) {
  in_other_orders([](Work&) { parallel::StreamMark(parallel::current_stream(device())).host_waits(); });
}
TEST(PlantedOnRanks, AWaitForAReductionThatOthersIssueLater) {
  setenv("STRICT_DEVICE_PATIENCE", "5", /*replace=*/1);
  in_other_orders([](Work& reduction) {
    reduction.wait();
    parallel::wait_for_device(device());
  });
}

TEST(Sound, AHostThatIsBoundToItsDevicesGradients) {
  std::vector<at::Tensor> parameters;
  for (int64_t i = 0; i < 8; ++i) parameters.push_back(at::ones({64}, floats()).requires_grad_(true));
  parallel::GradientReducer reducer(parameters, group(),
                                    {.bucket_bytes = 256, .sharding = parallel::Sharding::kGradients});
  reducer.zero();
  reducer.expect(/*last=*/true);
  at::Tensor loss = at::zeros({}, floats());
  for (const at::Tensor& parameter : parameters) loss = loss + parameter.sum() * static_cast<double>(rank() + 1);
  torch::autograd::backward({loss}, {});
  reducer.end_micro_batch();
  reducer.finish();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (reducer.owned(i).count > 0) expect_all(reducer.gradient(i), static_cast<double>(ranks() * (ranks() + 1)) / 2);
  }
}

// ---- Host and device. ----

TEST(Sound, ACopyFromPinnedMemory) { expect_all(parallel::send(at::ones({16}), device()), 1); }
TEST(Planted, ACopyFromPageableMemory) { expect_all(at::ones({16}).to(device(), /*non_blocking=*/true), 1); }
TEST(Planted, ACopyToPageableMemory) {
  at::Tensor host = at::empty({16});
  host.copy_(at::ones({16}, floats()), /*non_blocking=*/true);
  parallel::wait_for_device(device());
  expect_all(host, 1);
}
TEST(Sound, AnArrivalThatIsWaitedFor) {
  const at::Tensor host = at::ones({16}, floats()).to(at::kCPU, /*non_blocking=*/true);
  parallel::wait_for_device(device());
  expect_all(host, 1);
}
TEST(Planted, AnArrivalThatIsNotWaitedFor) {
  expect_all(at::ones({16}, floats()).to(at::kCPU, /*non_blocking=*/true), 1);
}
/// A buffer on its way to the device takes other numbers.
void send_twice(bool waits) {
  const at::Tensor first = at::empty({16}, floats()), second = at::empty({16}, floats());
  const at::Tensor buffer = at::empty({16}, at::TensorOptions(at::kFloat).pinned_memory(true));
  first.copy_(buffer.fill_(1), /*non_blocking=*/true);
  if (waits) parallel::wait_for_device(device());
  second.copy_(buffer.fill_(2), /*non_blocking=*/true);
  expect_all(first, 1);
  expect_all(second, 2);
}
TEST(Sound, ABufferSentTwice) { send_twice(true); }
TEST(Planted, ABufferFilledWhileItIsSent) { send_twice(false); }
TEST(Planted, AHostTensorInASum) { expect_all(ones(16) + at::ones({16}), 2); }
TEST(Planted, AHostTensorOfPlaces) { expect_all(ones(16).index_select(0, at::arange(4)), 1); }
TEST(Planted, AHostTensorInATable) { expect_all(at::cat({ones(16), at::ones({16})}), 1); }
TEST(Planted, TheHostReads) { EXPECT_EQ(*ones().const_data_ptr<float>(), 1); }
TEST(Planted, TheHostWrites) {
  const at::Tensor tensor = ones();
  std::memset(tensor.mutable_data_ptr(), 0, 4);
  expect_all(tensor, 1);
}
TEST(Planted, StreamsRecordedInPlaceOfAWait) { ones().record_stream(parallel::current_stream(device())); }

// ---- Kernels with contracts. ----

at::Tensor ends_of(const at::Tensor& host) { return parallel::send(host, device()); }

/// Sixteen times 1, in rows of both of two groups.
void grouped(const at::Tensor& end_G, const at::Tensor& left = at::ones({8, 16}, halves()), int64_t width = 8) {
  const at::Tensor out = at::zeros({8, width}, halves()).narrow(1, 0, 8);
  parallel::grouped_product_out(out, left, at::ones({2, 16, 8}, halves()), end_G);
  expect_all(out, 16);
}
TEST(Sound, AGroupedProduct) { grouped(ends_of(at::tensor({3, 8}, at::kInt))); }
TEST(Sound, AGroupedProductIntoAPartOfRows) {
  grouped(ends_of(at::tensor({3, 8}, at::kInt)), at::ones({8, 24}, halves()).narrow(1, 8, 16), 16);
}
TEST(Planted, AGroupedProductOfLongEnds) { grouped(ends_of(at::tensor({3, 8}, at::kLong))); }
TEST(Planted, AGroupedProductOfTheHostsEnds) { grouped(at::tensor({3, 8}, at::kInt)); }
TEST(Planted, AGroupedProductOfUnalignedRows) {
  grouped(ends_of(at::tensor({3, 8}, at::kInt)), at::ones({8, 20}, halves()).narrow(1, 0, 16));
}
TEST(Planted, AGroupedProductFromAnUnalignedPlace) {
  grouped(ends_of(at::tensor({3, 8}, at::kInt)), at::ones({8, 24}, halves()).narrow(1, 4, 16));
}
TEST(Planted, AGroupedProductIntoUnalignedRows) {
  grouped(ends_of(at::tensor({3, 8}, at::kInt)), at::ones({8, 16}, halves()), 12);
}
TEST(Planted, RowsOfNoGroupAreRead) { grouped(ends_of(at::tensor({3, 7}, at::kInt))); }
TEST(Planted, SumsOverNoRowsAreRead) {
  const at::Tensor out = at::zeros({2, 16, 8}, halves());
  parallel::grouped_product_out(out, at::zeros({8, 16}, halves()).t(), at::zeros({8, 8}, halves()),
                                ends_of(at::tensor({0, 8}, at::kInt)));
  expect_all(out, 0);
}

void adamw(const at::Tensor& steps, at::ScalarType gradient, const at::Tensor& moment) {
  const at::Tensor weight = at::ones({4, 8}, floats()), second = at::zeros_like(weight);
  at::_fused_adamw_({weight}, {at::zeros({4, 8}, floats().dtype(gradient))}, {moment}, {second}, {}, {steps}, 0.1, 0.9,
                    0.9, 0.0, 1e-8, false, false, {}, {});
  expect_all(weight, 1);
}
TEST(Sound, AdamW) { adamw(at::ones({}, floats()), at::kFloat, at::zeros({4, 8}, floats())); }
TEST(Planted, AdamWWithTheHostsSteps) { adamw(at::ones({}), at::kFloat, at::zeros({4, 8}, floats())); }
TEST(Planted, AdamWWithOtherGradients) { adamw(at::ones({}, floats()), at::kDouble, at::zeros({4, 8}, floats())); }
TEST(Planted, AdamWWithMomentsOfOtherStrides) {
  adamw(at::ones({}, floats()), at::kFloat, at::zeros({8, 4}, floats()).t());
}

}  // namespace
