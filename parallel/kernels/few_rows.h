// defines: kFewRows, FewRowsLinear, few_rows_linear, ExpertRows, FewRowsOfExperts, few_rows_experts: products of a few
// rows with large matrices, whose time is that of reading the matrix once
#pragma once
#include <cstdint>
#include <span>

namespace parallel {

// R rows, M numbers of a row, N of what is made of it; all contiguous; float or double. What is made of a row does not
// depend on the rows beside it, nor on the number of threads.

/// With more rows than this a library's blocked product is as fast.
constexpr int64_t kFewRows = 8;

/// y = x W^T + b
template <class Scalar>
struct FewRowsLinear {
  const Scalar* x_RM;
  const Scalar* weight_NM;
  const Scalar* bias_N = nullptr;  // null: none
  int64_t rows = 0, in = 0, out = 0;
};
template <class Scalar>
void few_rows_linear(const FewRowsLinear<Scalar>& all, Scalar* y_RN);

/// Rows begin to begin + count are of one expert.
struct ExpertRows {
  int64_t expert = 0, begin = 0, count = 0;
};

/// y[r] = x[r] W[e], of the expert e of row r.
template <class Scalar>
struct FewRowsOfExperts {
  const Scalar *x_RM, *weight_EMN;
  std::span<const ExpertRows> experts;
  int64_t in = 0, out = 0;
};
template <class Scalar>
void few_rows_experts(const FewRowsOfExperts<Scalar>& all, Scalar* y_RN);

}  // namespace parallel
