#include "parallel/device/device_library.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

constexpr bool kBuiltWithCuda = BUILT_WITH_CUDA;

TEST(Cuda, ItsHalfIsThereWhenItIsAskedFor) {
  const DeviceFacts facts = device_facts();
  EXPECT_EQ(!facts.built_with.empty(), kBuiltWithCuda);
  EXPECT_EQ(!facts.nccl.empty(), kBuiltWithCuda);
  // LibTorch took it for its own: without it this throws.
  EXPECT_GT(kBuiltWithCuda ? at::detail::getCUDAHooks().versionCUDART() : 1, 0);
  EXPECT_EQ(static_cast<int>(facts.gpus.size()), at::detail::getCUDAHooks().deviceCount());
}

TEST(Cuda, AGpuThatIsNotThereIsTheUsersFault) {
  constexpr int64_t kMoreThanAnyHostHas = 1000;
  EXPECT_THROW(open_accelerator(kMoreThanAnyHostHas), UserError);
}

}  // namespace
}  // namespace parallel
