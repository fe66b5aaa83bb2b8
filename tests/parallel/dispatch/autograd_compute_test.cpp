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

/// A bias for every expert, an expert of nothing but its bias, and one that ignores a weight.
TEST_F(AutogradComputeTest, WeightsOfAnyShapeAndInputsThatAreNotUsed) {
  const std::vector<at::Tensor> weights{random_tensor("bias", {kAllExperts, kModelWidth}),
                                        random_tensor("unused", {kAllExperts, 2, 2, 2})};
  const auto constant =
      std::make_shared<AutogradCompute>([](const at::Tensor& rows_ND, const std::vector<at::Tensor>& own) {
        return own[0].unsqueeze(0).expand_as(rows_ND);
      });
  const PipelineResult result = run(kChoices[1], one_rank(kAllExperts), weights, constant);
  EXPECT_EQ(result.gradients[0].abs().max().item<double>(), 0.0) << "no output depends on a row";
  EXPECT_EQ(result.gradients[3].abs().max().item<double>(), 0.0) << "nor on the second weight";
  const at::Tensor chosen = result.gradients[2][7];
  EXPECT_GT(chosen.abs().min().item<double>(), 0.0) << "all rows are expert 7's";
  EXPECT_EQ(result.gradients[2].abs().sum().item<double>(), chosen.abs().sum().item<double>());
}

}  // namespace
}  // namespace parallel
