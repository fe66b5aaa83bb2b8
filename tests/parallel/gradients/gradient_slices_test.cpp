// Gradients in slices at the places of a plan, and the order in which a layer's exchanges and slices are issued.
#include "parallel/dispatch/expert_pipeline.h"
#include "tests/parallel/dispatch/toy_compute.h"
#include "tests/parallel/gradients/reducer_support.h"
#include "tests/support/random_tensor.h"

namespace parallel {
namespace {

using Bytes = std::vector<int64_t>;

class GradientSlicesTest : public GradientReducerTest {
 protected:
  GradientReducer make(const std::vector<at::Tensor>& parameters, Plan plan, Sharding sharding = Sharding::kNone) {
    schedule_->follow(std::move(plan));
    return {parameters, group_, {.sharding = sharding, .schedule = schedule_}};
  }

  std::shared_ptr<Schedule> schedule_ = std::make_shared<Schedule>();
  /// In the order of backward: 40 and 16 bytes, then 24.
  const Plan planned_{.release = GradientRelease::kPlanned,
                      .layers = {{.moe_gradient_bytes = 24}, {.moe_gradient_bytes = 40, .dense_gradient_bytes = 16}}};
};

TEST_F(GradientSlicesTest, GoWhereThePlanReleasesThem) {
  const auto parameters = leaves({3, 5, 1, 8});  // 136 bytes
  auto reducer = make(parameters, planned_);
  for (int64_t update = 0; update < 2; ++update) {
    group_->forget();
    reducer.zero();
    reducer.expect(/*last=*/false);
    backward_of(loss(parameters, 0));
    schedule_->release_gradients(1000);  // in a micro-batch before the last it says nothing
    reducer.expect(/*last=*/true);
    backward_of(loss(parameters, 1));
    if (size_ == 1) {  // no wire: nothing is cut
      reducer.finish();
      EXPECT_EQ(group_->bytes(), Bytes{136});
      continue;
    }
    EXPECT_EQ(group_->bytes(), Bytes{});
    schedule_->release_gradients(40);
    EXPECT_EQ(group_->bytes(), Bytes{40});
    schedule_->release_gradients(15);  // less than the next slice
    EXPECT_EQ(group_->bytes(), Bytes{40});
    schedule_->release_gradients(25);  // for both
    EXPECT_EQ(group_->bytes(), (Bytes{40, 16, 24}));
    reducer.finish();
    EXPECT_EQ(group_->bytes(), (Bytes{40, 16, 24, 56}));
    expect_totals(reducer, parameters, 2);
  }
}

TEST_F(GradientSlicesTest, GoOnceTheyAreCompleteWhereTheyWereReleasedBefore) {
  const auto parameters = leaves({3, 5, 1, 8});
  auto reducer = make(parameters, planned_);
  reducer.zero();
  reducer.expect(/*last=*/true);
  schedule_->release_gradients(80);
  EXPECT_TRUE(group_->operations().empty());
  backward_of((parameters[3].sum() + parameters[2].sum()) * 2.0);  // 72 bytes of the last two
  EXPECT_EQ(group_->bytes(), size_ == 1 ? Bytes{} : (Bytes{40, 16}));
  backward_of((parameters[0].sum() + parameters[1].sum()) * 2.0);
  EXPECT_EQ(group_->bytes(), size_ == 1 ? Bytes{136} : (Bytes{40, 16, 24}));
  reducer.finish();
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(reducer.gradient(i).eq(2.0 * static_cast<double>(size_)).all().item<bool>()) << i;
  }
}

TEST_F(GradientSlicesTest, GoAfterBackwardOrInPiecesOfOneSize) {
  const auto parameters = leaves({3, 5, 1, 8});
  auto reducer = make(parameters, {.release = GradientRelease::kAfterBackward});
  reducer.zero();
  reducer.expect(/*last=*/true);
  backward_of(loss(parameters));
  schedule_->release_gradients(1000);
  EXPECT_TRUE(group_->operations().empty());
  reducer.finish();
  EXPECT_EQ(group_->bytes(), Bytes{136});
  expect_totals(reducer, parameters, 1);

  schedule_->follow({.slice_bytes = 30});  // 3 elements; cut anew at the next update
  group_->forget();
  reducer.zero();
  reducer.expect(/*last=*/true);
  backward_of(loss(parameters));
  EXPECT_EQ(group_->bytes(), (Bytes{24, 24, 24, 24, 24, 16}));
  reducer.finish();
  expect_totals(reducer, parameters, 1);
}

TEST_F(GradientSlicesTest, ShardedGradientsAreCutAlike) {
  for (const Sharding sharding : {Sharding::kState, Sharding::kGradients}) {
    const auto parameters = leaves({3, 5, 1, 8});
    auto reducer = make(parameters, planned_, sharding);
    group_->forget();
    reducer.zero();
    for (const bool last : {false, true}) {
      reducer.expect(last);
      backward_of(loss(parameters, last ? 1 : 0));
      schedule_->release_gradients(56);
      reducer.end_micro_batch();
    }
    reducer.finish();
    const Bytes round = size_ == 1 ? Bytes{136} : Bytes{40, 16, 24, 56};
    Bytes expected = round;
    if (sharding == Sharding::kGradients) expected.insert(expected.end(), round.begin(), round.end());
    EXPECT_EQ(group_->bytes(), expected);
    for (size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_EQ(reducer.gradient(i).numel(), reducer.owned(i).count);
      EXPECT_TRUE(reducer.gradient(i).eq(total_slope(i, 2)).all().item<bool>()) << i;
    }
  }
}

/// "DDDD" for four dispatches, "C" combine, "g" a slice: as one rank issues them.
std::string order_of(const std::vector<RecordingCommunicator::Operation>& operations, size_t dispatches) {
  std::string text;
  size_t exchanges = 0;
  for (const auto& operation : operations) {
    if (operation.name == "all_to_all") text += exchanges++ < dispatches ? "D" : "C";
    if (operation.name == "all_reduce") text += "g";
  }
  return text;
}

TEST_F(GradientSlicesTest, NeverStandBeforeAnAllToAllThatCouldGo) {
  if (size_ == 1) return;  // it exchanges nothing
  constexpr size_t kForward = 2, kBackward = 4;
  const auto tokens_group = std::make_shared<RecordingCommunicator>(test_world()->duplicate());
  const auto gradients_group = std::make_shared<RecordingCommunicator>(test_world()->duplicate(), tokens_group->list());
  const MeshConfig config{.expert = size_, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(size_), 2)};
  const auto mesh = std::make_shared<const Mesh>(config, tokens_group, gradients_group);
  const int64_t experts = 2 * size_;
  mesh->follow({.name = "planned",
                .overlap = true,
                .release = GradientRelease::kPlanned,
                .layers = {{.forward_chunks = kForward,
                            .backward_chunks = kBackward,
                            .moe_gradient_bytes = 40,
                            .dense_gradient_bytes = 16}}});
  const auto dense = leaves({3, 5, 1, 8});  // of the layer above the experts
  GradientReducer reducer(dense, mesh->replicas(Replicas::kWorld), {.schedule = mesh->schedule()});
  reducer.zero();
  reducer.expect(/*last=*/true);

  const at::Tensor tokens_TD = random_tensor("tokens", {12, 3}).requires_grad_(true);
  const at::Tensor expert_TK = at::arange(12).remainder(experts).unsqueeze(1);
  const std::vector<at::Tensor> weights{random_tensor("in", {2, 3, 4}).requires_grad_(true),
                                        random_tensor("out", {2, 4, 3}).requires_grad_(true)};
  const at::Tensor out_TD =
      expert_pipeline(tokens_TD, {expert_TK, at::ones({12, 1}, at::kDouble), experts}, std::make_shared<ToyCompute>(),
                      weights, {mesh, expert_map(config, experts)});
  EXPECT_EQ(order_of(*tokens_group->list(), kForward), "DDCC");
  tokens_group->forget();
  backward_of(out_TD.sum() * loss(dense));
  // What is released waits in the link's queue behind the dispatches, and no combine waits for it.
  EXPECT_EQ(order_of(*tokens_group->list(), kBackward), "DDDDgCCCCg");
  reducer.finish();
  EXPECT_EQ(order_of(*tokens_group->list(), kBackward), "DDDDgCCCCgg");
  Bytes slices;
  for (const auto& operation : *tokens_group->list()) {
    if (operation.name == "all_reduce") slices.push_back(operation.bytes);
  }
  EXPECT_EQ(slices, (Bytes{40, 16, 80}));
}

}  // namespace
}  // namespace parallel
