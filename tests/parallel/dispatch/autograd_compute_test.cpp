#include "parallel/dispatch/autograd_compute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/base/fault.h"
#include "tests/parallel/dispatch/pipeline_run.h"

namespace parallel {
namespace {

using AutogradComputeTest = PipelineRun;

at::Tensor toy_expert(const at::Tensor& rows_ND, const std::vector<at::Tensor>& weights) {
  return at::mm(at::tanh(at::mm(rows_ND, weights[0])), weights[1]);
}

TEST_F(AutogradComputeTest, GivesWhatAWrittenBackwardGivesInEveryFoldingAndPlan) {
  const Plan plans[] = {{},
                        {.overlap = true, .layers = {{.forward_chunks = 3, .backward_chunks = 5}}},
                        {.overlap = true, .layers = {{.forward_chunks = 16, .backward_chunks = 1}}}};
  const auto compute = std::make_shared<AutogradCompute>(toy_expert);
  size_t number = 0;
  for (const MeshConfig& config : foldings(world_->size())) {
    const auto mesh = std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate());
    const ExpertGroup group{mesh, expert_map(config, kAllExperts)};
    for (const Choice& choice : kChoices) {
      mesh->follow(plans[number++ % std::size(plans)]);
      const std::string what = concat(choice.name, ", ", mesh->shape().describe(), ", bound ", config.receive_bound);
      const PipelineResult written = run(choice, group, own_weights(group)),
                           result = run(choice, group, own_weights(group), compute),
                           again = run(choice, group, own_weights(group), compute);
      EXPECT_TRUE(at::allclose(result.out_TD, written.out_TD, 1e-13, 1e-14)) << what;
      for (size_t i = 0; i < written.gradients.size(); ++i) {
        EXPECT_TRUE(at::allclose(result.gradients[i], written.gradients[i], 1e-12, 1e-13)) << what << ", input " << i;
        EXPECT_TRUE(result.gradients[i].equal(again.gradients[i])) << what << ", input " << i;
      }
    }
  }
}

/// An expert of nothing but its bias: no output depends on a row or on the second weight, whatever its shape.
TEST_F(AutogradComputeTest, InputsThatAreNotUsedHaveZeroGradients) {
  const std::vector<at::Tensor> weights{random_tensor("bias", {kAllExperts, kModelWidth}),
                                        random_tensor("unused", {kAllExperts, 2, 2, 2})};
  const auto constant =
      std::make_shared<AutogradCompute>([](const at::Tensor& rows_ND, const std::vector<at::Tensor>& own) {
        return own[0].unsqueeze(0).expand_as(rows_ND);
      });
  const Choice& choice = kChoices[1];  // both choices of every token are expert 7
  const PipelineResult result = run(choice, one_rank(kAllExperts), weights, constant);
  const std::string place = std::to_string(world_->rank());
  const int64_t tokens = choice.tokens(world_->rank());
  const at::Tensor gates_T1 = random_tensor("gates" + place, {tokens, 2}).sum(1, /*keepdim=*/true);
  EXPECT_TRUE(at::allclose(result.out_TD, gates_T1 * weights[0][7], 1e-13, 1e-14));
  at::Tensor expected = at::zeros_like(weights[0]);
  expected[7] = (gates_T1 * random_tensor("probe" + place, result.out_TD.sizes())).sum(0);
  EXPECT_TRUE(at::allclose(result.gradients[2], expected, 1e-12, 1e-13));
  EXPECT_EQ(result.gradients[0].abs().max().item<double>(), 0.0) << "of the rows";
  EXPECT_EQ(result.gradients[3].abs().max().item<double>(), 0.0) << "of the second weight";
}

TEST_F(AutogradComputeTest, AnOutputOfAnotherShapeIsTheKindsFault) {
  const auto mean = std::make_shared<AutogradCompute>(
      [](const at::Tensor& rows_ND, const std::vector<at::Tensor>&) { return rows_ND.mean(0, /*keepdim=*/true); });
  EXPECT_THROW(run(kChoices[1], one_rank(kAllExperts), weights_, mean), InternalError);
}

}  // namespace
}  // namespace parallel
