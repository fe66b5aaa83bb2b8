// defines: RecordingCommunicator: passes every operation on and keeps a list of them
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm/communicator.h"

class RecordingCommunicator : public parallel::Communicator {
 public:
  struct Operation {
    std::string name;  // of the method
    int64_t bytes = 0;
    bool operator==(const Operation&) const = default;
  };

  explicit RecordingCommunicator(std::shared_ptr<parallel::Communicator> inner,
                                 std::shared_ptr<std::vector<Operation>> list = nullptr)
      : inner_(std::move(inner)), operations_(list ? std::move(list) : std::make_shared<std::vector<Operation>>()) {}

  int64_t rank() const override { return inner_->rank(); }
  int64_t size() const override { return inner_->size(); }
  parallel::Work all_reduce(at::Tensor tensor, parallel::ReduceOp op) override {
    operations_->push_back({"all_reduce", static_cast<int64_t>(tensor.nbytes())});
    return inner_->all_reduce(std::move(tensor), op);
  }
  parallel::Work all_gather(at::Tensor gathered, at::Tensor part) override {
    operations_->push_back({"all_gather", static_cast<int64_t>(part.nbytes())});
    return inner_->all_gather(std::move(gathered), std::move(part));
  }
  parallel::Work all_to_all(at::Tensor received, at::Tensor sent, const parallel::RowCounts& received_rows,
                            const parallel::RowCounts& sent_rows, const parallel::After& after) override {
    operations_->push_back({"all_to_all", static_cast<int64_t>(sent.nbytes())});
    return inner_->all_to_all(std::move(received), std::move(sent), received_rows, sent_rows, after);
  }
  parallel::Work all_gather_rows(at::Tensor gathered, at::Tensor part, const parallel::RowCounts& rows,
                                 const parallel::After& after) override {
    operations_->push_back({"all_gather_rows", static_cast<int64_t>(part.nbytes())});
    return inner_->all_gather_rows(std::move(gathered), std::move(part), rows, after);
  }
  parallel::Work reduce_scatter_rows(at::Tensor part, at::Tensor whole, const parallel::RowCounts& rows) override {
    operations_->push_back({"reduce_scatter_rows", static_cast<int64_t>(whole.nbytes())});
    return inner_->reduce_scatter_rows(std::move(part), std::move(whole), rows);
  }
  void take_lane(parallel::Lane lane) override { inner_->take_lane(lane); }
  /// Copies and parts add to the same list.
  std::shared_ptr<parallel::Communicator> duplicate() override {
    return std::make_shared<RecordingCommunicator>(inner_->duplicate(), operations_);
  }
  std::shared_ptr<parallel::Communicator> split(int64_t color, int64_t key) override {
    return std::make_shared<RecordingCommunicator>(inner_->split(color, key), operations_);
  }

  /// In the order of issue.
  const std::vector<Operation>& operations() const { return *operations_; }
  const std::shared_ptr<std::vector<Operation>>& list() const { return operations_; }
  std::vector<int64_t> bytes() const {
    std::vector<int64_t> all;
    for (const Operation& operation : *operations_) all.push_back(operation.bytes);
    return all;
  }
  void forget() { operations_->clear(); }

 private:
  std::shared_ptr<parallel::Communicator> inner_;
  std::shared_ptr<std::vector<Operation>> operations_;
};
