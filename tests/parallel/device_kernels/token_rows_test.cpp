#include <algorithm>
#include <cmath>

#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

template <class Number>
class RowKernels : public testing::Test {};
using RowTypes = testing::Types<float, double, Bfloat16>;
TYPED_TEST_SUITE(RowKernels, RowTypes);

// Pieces whole and not; less than a warp's, more than a stretch's.
constexpr int64_t kWidths[] = {1, 3, 8, 16, 40, 129, 512, 1032, 1037};
constexpr int64_t kTokens = 13, kChoices = 3;

/// A row of each choice in some order, but for every fifth: it has none.
struct Rows {
  std::vector<int64_t> row_TK, token_R, slot_R;
  int64_t count = 0;

  Rows() {
    for (int64_t slot = 0; slot < kTokens * kChoices; ++slot) count += slot % 5 != 0;
    row_TK.assign(kTokens * kChoices, count);
    token_R.resize(static_cast<size_t>(count));
    slot_R.resize(static_cast<size_t>(count));
    const RandomStream stream(5, "order");
    int64_t next = 0;
    for (int64_t slot = 0; slot < kTokens * kChoices; ++slot) {
      if (slot % 5 == 0) continue;
      const int64_t row = permuted_index(stream, next++, count);
      row_TK[static_cast<size_t>(slot)] = row;
      token_R[static_cast<size_t>(row)] = slot / kChoices;
      slot_R[static_cast<size_t>(row)] = slot;
    }
  }
};

TYPED_TEST(RowKernels, CopiesOfRows) {
  const Rows rows;
  const DeviceBuffer<int64_t> index(rows.token_R);
  for (const int64_t width : kWidths) {
    for (const size_t skip : {0, 1}) {
      const auto from = numbers<TypeParam>("from", kTokens * width);
      const DeviceBuffer<TypeParam> source(from, skip), to(static_cast<size_t>(rows.count * width), skip);
      expect_no_fault(compiled_kernels()->copy_rows(
          {kElement<TypeParam>, rows.count, width, source.data(), index.data(), to.data()}, {}));
      const auto got = to.on_host();
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t d = 0; d < width; ++d) {
          const auto wanted = from[static_cast<size_t>(rows.token_R[static_cast<size_t>(r)] * width + d)];
          ASSERT_EQ(exact(got[static_cast<size_t>(r * width + d)]), exact(wanted)) << r << ", " << d << " of " << width;
        }
      }
    }
  }
}

TYPED_TEST(RowKernels, WeightedSumsOfATokensRows) {
  const Rows rows;
  const DeviceBuffer<int64_t> row_there(rows.row_TK);
  const auto weight = numbers<TypeParam>("weight", kTokens * kChoices);
  const DeviceBuffer<TypeParam> weight_there(weight);
  for (const int64_t width : kWidths) {
    for (const bool weighted : {false, true}) {
      const auto values = numbers<TypeParam>("rows", rows.count * width);
      const size_t skip = weighted ? 0 : 1;
      const DeviceBuffer<TypeParam> source(values, skip), to(static_cast<size_t>(kTokens * width), skip);
      expect_no_fault(compiled_kernels()->add_weighted_rows(
          {kElement<TypeParam>, kTokens, kChoices, rows.count, width, source.data(), row_there.data(),
           weighted ? weight_there.data() : nullptr, to.data()},
          {}));
      const auto got = to.on_host();
      for (int64_t t = 0; t < kTokens; ++t) {
        for (int64_t d = 0; d < width; ++d) {
          double wanted = 0, size = 0;
          for (int64_t slot = t * kChoices; slot < (t + 1) * kChoices; ++slot) {
            const int64_t row = rows.row_TK[static_cast<size_t>(slot)];
            if (row == rows.count) continue;
            const double part = (weighted ? exact(weight[static_cast<size_t>(slot)]) : 1) *
                                exact(values[static_cast<size_t>(row * width + d)]);
            wanted += part;
            size += std::abs(part);
          }
          ASSERT_NEAR(exact(got[static_cast<size_t>(t * width + d)]), wanted, 4 * unit_of<TypeParam>() * size);
        }
      }
    }
  }
}

TYPED_TEST(RowKernels, GradientsOfRowsAndWeights) {
  const Rows rows;
  const DeviceBuffer<int64_t> token_there(rows.token_R), slot_there(rows.slot_R);
  const auto weight = numbers<TypeParam>("weight", kTokens * kChoices);
  const DeviceBuffer<TypeParam> weight_there(weight);
  for (const int64_t width : kWidths) {
    for (const size_t skip : {0, 1}) {
      const auto grad = numbers<TypeParam>("grad", kTokens * width),
                 values = numbers<TypeParam>("rows", rows.count * width);
      const DeviceBuffer<TypeParam> above(grad, skip), source(values, skip), to(values.size(), skip),
          of_weight(std::vector<TypeParam>(weight.size(), stored<TypeParam>(7)));
      expect_no_fault(compiled_kernels()->weighted_rows_backward(
          {kElement<TypeParam>, rows.count, width, above.data(), source.data(), weight_there.data(), token_there.data(),
           slot_there.data(), to.data(), of_weight.data()},
          {}));
      const auto got = to.on_host(), got_weight = of_weight.on_host();
      for (int64_t slot = 0; slot < kTokens * kChoices; ++slot) {
        const int64_t row = rows.row_TK[static_cast<size_t>(slot)], token = slot / kChoices;
        if (row == rows.count) {
          ASSERT_EQ(exact(got_weight[static_cast<size_t>(slot)]), 7);
          continue;
        }
        double dot = 0, size = 0;
        for (int64_t d = 0; d < width; ++d) {
          const double g = exact(grad[static_cast<size_t>(token * width + d)]);
          const double part = g * exact(values[static_cast<size_t>(row * width + d)]);
          const double wanted = exact(weight[static_cast<size_t>(slot)]) * g;
          dot += part;
          size += std::abs(part);
          ASSERT_NEAR(exact(got[static_cast<size_t>(row * width + d)]), wanted,
                      2 * unit_of<TypeParam>() * std::abs(wanted));
        }
        ASSERT_NEAR(exact(got_weight[static_cast<size_t>(slot)]), dot, 8 * unit_of<TypeParam>() * size);
      }
    }
  }
}

TYPED_TEST(RowKernels, NothingToDo) {
  const DeviceBuffer<TypeParam> none(size_t{0});
  const DeviceBuffer<int64_t> index(size_t{0}), all_dropped(std::vector<int64_t>(6, 0));
  expect_no_fault(
      compiled_kernels()->copy_rows({kElement<TypeParam>, 0, 8, none.data(), index.data(), none.data()}, {}));
  expect_no_fault(
      compiled_kernels()->weighted_rows_backward({kElement<TypeParam>, 0, 8, none.data(), none.data(), none.data(),
                                                  index.data(), index.data(), none.data(), none.data()},
                                                 {}));
  // Tokens whose choices were all dropped are zero.
  const DeviceBuffer<TypeParam> out(size_t{24});
  expect_no_fault(compiled_kernels()->add_weighted_rows(
      {kElement<TypeParam>, 3, 2, 0, 8, none.data(), all_dropped.data(), nullptr, out.data()}, {}));
  for (const TypeParam got : out.on_host()) EXPECT_EQ(exact(got), 0);
}

struct SortCase {
  int64_t choices, experts;
  bool skewed;
};

TEST(SortKernel, ChoicesByExpertInOrder) {
  // More than a warp's stretch, more than all warps' first; no choices; experts without any; one with nearly all.
  for (const SortCase& each : {SortCase{0, 4, false},
                               {1, 1, false},
                               {31, 3, false},
                               {64, 64, false},
                               {999, 37, false},
                               {4096, 8, true},
                               {40000, 130, false},
                               {40001, 512, true}}) {
    const RandomStream stream(7, "choices");
    std::vector<int64_t> expert(static_cast<size_t>(each.choices));
    for (int64_t i = 0; i < each.choices; ++i) {
      const bool first = each.skewed && stream.below(2 * i, 8) != 0;
      expert[static_cast<size_t>(i)] = i % 11 == 5 ? -1
                                       : first     ? each.experts / 2
                                                   : stream.below(2 * i + 1, each.experts);
    }
    const auto choices = static_cast<size_t>(each.choices);
    const DeviceBuffer<int64_t> there(expert), token(choices), slot(choices), row(choices);
    const DeviceBuffer<int32_t> end(static_cast<size_t>(each.experts));
    const DeviceBuffer<int32_t> scratch(
        static_cast<size_t>(compiled_kernels()->sorting_scratch(each.choices, each.experts)));
    expect_no_fault(compiled_kernels()->sort_choices({each.choices, 3, each.experts, there.data(), scratch.data(),
                                                      end.data(), token.data(), slot.data(), row.data()},
                                                     {}));
    std::vector<int32_t> wanted_end;
    std::vector<int64_t> order;
    const auto put_all_of = [&](int64_t e) {
      for (int64_t i = 0; i < each.choices; ++i) {
        if (expert[static_cast<size_t>(i)] == e) order.push_back(i);
      }
    };
    for (int64_t e = 0; e < each.experts; ++e) {
      put_all_of(e);
      wanted_end.push_back(static_cast<int32_t>(order.size()));
    }
    EXPECT_EQ(end.on_host(), wanted_end);
    const size_t rows = order.size();
    std::vector<int64_t> wanted_row(choices, static_cast<int64_t>(rows));
    put_all_of(-1);  // what was dropped
    const auto got_slot = slot.on_host(), got_token = token.on_host();
    for (size_t r = 0; r < order.size(); ++r) {
      if (r < rows) wanted_row[static_cast<size_t>(order[r])] = static_cast<int64_t>(r);
      ASSERT_EQ(got_slot[r], order[r]) << r << " of " << each.choices << " choices of " << each.experts;
      ASSERT_EQ(got_token[r], order[r] / 3);
    }
    EXPECT_EQ(row.on_host(), wanted_row);
  }
}

}  // namespace
}  // namespace parallel
