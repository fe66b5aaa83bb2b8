#include "launch/interchange/tensors/tensor_copy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/launch/interchange/tiny_model.h"
#include "tests/support/random_tensor.h"
#include "tests/support/threads.h"

namespace launch::interchange {
namespace {

// Larger than a piece that threads share out, in rows that no piece ends with.
constexpr int64_t kExperts = 3, kRows = 501, kColumns = 307;

/// Expert 1's matrix, which the folder has transposed and twice as large.
TensorRule one_matrix() {
  TensorRules rules;
  rules.transposed("theirs", "ours", {.experts = kExperts, .expert = 1, .rows = kRows, .columns = kColumns});
  rules.scale(2);
  return rules.take().front();
}

class TensorCopy : public testing::TestWithParam<int> {
 protected:
  const at::Tensor ours_ERC = random_tensor("ours", {kExperts, kRows, kColumns}).to(at::kFloat);

 private:
  const Threads own_{GetParam()};
};

TEST_P(TensorCopy, ABlockIsWrittenWhole) {
  at::Tensor theirs_CR = at::full({kColumns, kRows}, -7, at::kFloat);
  write_block(one_matrix(), {.dtype = "F32", .shape = ours_ERC.sizes().vec(), .data = ours_ERC.const_data_ptr()}, "F32",
              {static_cast<std::byte*>(theirs_CR.mutable_data_ptr()), theirs_CR.nbytes()});
  EXPECT_TRUE(theirs_CR.equal(ours_ERC[1].t() * 2));
}

TEST_P(TensorCopy, AnyPartOfABlockIsRead) {
  const at::Tensor theirs_CR = (ours_ERC[1].t() * 2).contiguous(), wanted = ours_ERC[1].flatten().to(at::kDouble);
  const TensorView view{.dtype = "F32", .shape = theirs_CR.sizes().vec(), .data = theirs_CR.const_data_ptr()};
  for (const parallel::ElementRange& own : {parallel::ElementRange{0, kRows * kColumns},
                                            {5, 140000},
                                            {kColumns - 1, 2},
                                            {kRows * kColumns - 1, 1},
                                            {9, 0}}) {
    at::Tensor got = at::full({own.count}, -7, at::kDouble);
    read_block(one_matrix(), view, own, "F64", got.mutable_data_ptr());
    EXPECT_TRUE(got.equal(wanted.narrow(0, own.begin, own.count))) << own.begin << ", " << own.count;
  }
}

TEST_P(TensorCopy, ALongRowToo) {
  constexpr int64_t kLong = 1000003;
  TensorRules rules;
  rules.copy("theirs", "ours", {kLong});
  const TensorRule rule = rules.take().front();
  const at::Tensor ours = random_tensor("long", {kLong}).to(at::kFloat);
  at::Tensor theirs = at::full({kLong}, -7, at::kFloat), back = at::full({kLong - 2}, -7, at::kFloat);
  write_block(rule, {.dtype = "F32", .shape = {kLong}, .data = ours.const_data_ptr()}, "F32",
              {static_cast<std::byte*>(theirs.mutable_data_ptr()), theirs.nbytes()});
  EXPECT_TRUE(theirs.equal(ours));
  read_block(rule, {.dtype = "F32", .shape = {kLong}, .data = theirs.const_data_ptr()}, {1, kLong - 2}, "F32",
             back.mutable_data_ptr());
  EXPECT_TRUE(back.equal(ours.narrow(0, 1, kLong - 2)));
}

TEST_P(TensorCopy, TheFirstNumberTooLargeIsNamedWhicheverThreadMeetsIt) {
  const at::Tensor large = ours_ERC.clone();
  large[1][kRows - 1][kColumns - 1] = 1.5e38;
  large[1][0][3] = 1e38;
  at::Tensor theirs_CR = at::empty({kColumns, kRows}, at::kHalf);
  expect_user_error(
      [&] {
        write_block(one_matrix(), {.dtype = "F32", .shape = large.sizes().vec(), .data = large.const_data_ptr()}, "F16",
                    {static_cast<std::byte*>(theirs_CR.mutable_data_ptr()), theirs_CR.nbytes()});
      },
      {"'ours' holds 2e+38"});
}

INSTANTIATE_TEST_SUITE_P(Threads, TensorCopy, testing::Values(1, 3));

}  // namespace
}  // namespace launch::interchange
