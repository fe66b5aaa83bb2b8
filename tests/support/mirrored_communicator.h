// defines: MirroredCommunicator: a group of two of which the other rank does what this one does
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/stream_work.h"

/// The first of two ranks where there is only one: what the other would send is a copy of what this one sends, on a
/// stream of the group's own, as many bytes as would have crossed: by way of the host, at a network's speed and by what
/// copies beside the device's kernels (inside the device a copy takes a hundredth of the time, and the kernels' room).
/// For times, not for numbers: rows that only the other rank
/// could have made are copies of this rank's. On the CPU the copy is made in the call.
class MirroredCommunicator : public parallel::Communicator {
 public:
  explicit MirroredCommunicator(at::Device device) : device_(device) {
    if (!parallel::is_accelerator(device)) return;
    stream_ = parallel::side_stream(device);
  }

  int64_t rank() const override { return 0; }
  int64_t size() const override { return 2; }

  parallel::Work all_reduce(at::Tensor tensor, parallel::ReduceOp op) override {
    return carried({tensor}, {}, [&] {
      if (op == parallel::ReduceOp::kSum) tensor.mul_(2);
    });
  }
  parallel::Work all_gather(at::Tensor gathered, at::Tensor part) override {
    return carried({gathered, part}, {}, [&] { gathered.view({2, -1}).copy_(part.reshape({1, -1}).expand({2, -1})); });
  }
  parallel::Work all_to_all(at::Tensor received, at::Tensor sent, const parallel::RowCounts& received_rows,
                            const parallel::RowCounts& sent_rows, const parallel::After& after) override {
    return carried({received, sent}, after, [&] {
      copy_rows(received.narrow(0, 0, received_rows[0]), sent.narrow(0, 0, sent_rows[0]));
      cross(received.narrow(0, received_rows[0], received_rows[1]), sent);
    });
  }
  parallel::Work all_gather_rows(at::Tensor gathered, at::Tensor part, const parallel::RowCounts& rows,
                                 const parallel::After& after) override {
    return carried({gathered, part}, after, [&] {
      copy_rows(gathered.narrow(0, 0, rows[0]), part);
      copy_rows(gathered.narrow(0, rows[0], rows[1]), part);
    });
  }
  parallel::Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const parallel::RowCounts& rows) override {
    return carried({part, whole}, {}, [&] { at::mul_out(part, whole.narrow(0, 0, rows[0]), at::scalar_tensor(2)); });
  }
  void take_lane(parallel::Lane) override {}
  std::shared_ptr<parallel::Communicator> duplicate() override {
    return std::make_shared<MirroredCommunicator>(device_);
  }
  std::shared_ptr<parallel::Communicator> split(int64_t, int64_t) override {
    throw parallel::InternalError("MirroredCommunicator: a group of two is not split");
  }

 private:
  struct Done : parallel::WorkState {
    void wait() override {}
    bool done() override { return true; }
    std::optional<parallel::WorkSpan> span() override { return of; }
    parallel::WorkSpan of;
  };

  /// As many as there are.
  static void copy_rows(const at::Tensor& to, const at::Tensor& from) {
    const int64_t rows = std::min(to.size(0), from.size(0));
    to.narrow(0, 0, rows).copy_(from.narrow(0, 0, rows), /*non_blocking=*/true);
    to.narrow(0, rows, to.size(0) - rows).zero_();
  }

  /// From rank to rank.
  void cross(const at::Tensor& to, const at::Tensor& from) {
    const int64_t rows = std::min(to.size(0), from.size(0));
    if (!stream_ || rows == 0) {
      copy_rows(to, from);
      return;
    }
    const int64_t numbers = rows * from.size(1);
    if (!wire_.defined() || wire_.scalar_type() != from.scalar_type() || wire_.numel() < numbers) {
      wire_ = at::empty({numbers}, at::TensorOptions(from.scalar_type()).pinned_memory(true));
    }
    const at::Tensor wire = wire_.narrow(0, 0, numbers).view({rows, from.size(1)});
    wire.copy_(from.narrow(0, 0, rows), /*non_blocking=*/true);
    copy_rows(to, wire);
  }

  template <class Action>
  parallel::Work carried(std::vector<at::Tensor> tensors, const parallel::After& after, Action&& action) {
    const at::NoGradGuard no_gradient;
    if (!stream_) {
      auto done = std::make_shared<Done>();
      done->of.begin = std::chrono::steady_clock::now();
      action();
      done->of.end = std::chrono::steady_clock::now();
      return {std::move(done), std::move(tensors)};
    }
    auto begun = parallel::begin_on(*stream_, after);
    const c10::StreamGuard on_stream(*stream_);
    action();
    return {std::make_shared<parallel::StreamWork>(*stream_, std::move(begun)), std::move(tensors)};
  }

  at::Device device_;
  std::optional<c10::Stream> stream_;
  at::Tensor wire_;  // of the host; its stream alone uses it
};
