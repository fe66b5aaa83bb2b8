#include "parallel/schedule/plan.h"

#include <gtest/gtest.h>

namespace {

using parallel::GradientRelease;
using parallel::Plan;

Plan plan_of_two() {
  return {.name = "planned",
          .overlap = true,
          .release = GradientRelease::kPlanned,
          .slice_bytes = 4096,
          .layers = {{.forward_chunks = 3, .backward_chunks = 5, .moe_gradient_bytes = 8192},
                     {.dense_gradient_bytes = 77}}};
}

TEST(Plan, IsAValue) {
  EXPECT_EQ(plan_of_two(), plan_of_two());
  Plan other = plan_of_two();
  other.layers[1].dense_gradient_bytes = 78;
  EXPECT_NE(other, plan_of_two());
  other = plan_of_two();
  other.one_link = true;
  EXPECT_NE(other, plan_of_two());
}

TEST(Plan, TextIsATable) {
  EXPECT_EQ(to_text(plan_of_two()),
            "plan planned: overlap, two links, gradients planned in slices of 4096 bytes\n"
            "layer  forward chunks  backward chunks  gradient bytes in MoE  in dense part\n"
            "    0               3                5                   8192              0\n"
            "    1               1                1                      0             77\n");
  EXPECT_EQ(to_text(Plan{}),
            "plan sequential: no overlap, two links, gradients when_ready\n"
            "every layer in 1 chunk\n");
}

}  // namespace
