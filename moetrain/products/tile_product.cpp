#include "moetrain/products/tile_product.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/ivalue.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>

#include "moetrain/products/product_way.h"
#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/pairs.h"
#include "parallel/kernels/threads.h"

namespace moetrain {
namespace {

using parallel::Bfloat16;
using parallel::Pair;

// A tile is kRows x kColumns of the result at most. A kernel is made for each size that was not seen yet, so there are
// few of them: fewer rows than kRows are computed by kFewRows, and what is left in whole kLeastRows.
constexpr int64_t kRows = 256, kColumns = 64, kFewRows = 64, kLeastRows = 16;
// Numbers of a sum that are at hand at once: of rows as they are, and of columns that are turned into some, which
// come in halves of that.
constexpr int64_t kMostSum = 2048, kMostStep = 512;
// Numbers of columns that are rows, and of what they are multiplied by, that a thread has at once, however many rows an
// expert has.
constexpr int64_t kMostTurned = kRows * kMostSum, kMostPacked = 4 * kMostTurned;

int64_t round_up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

/// LibTorch's call; the tiles of a thread are given back when its part is done.
class Tiles {
 public:
  Tiles() = default;
  ~Tiles() { at::native::cpublas::brgemm_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  struct Operand {
    const Bfloat16* data = nullptr;
    int64_t stride = 0;
  };
  /// sums [rows, columns] = or += left [rows, sum] pairs [sum / 2, columns], of rows of kColumns.
  void multiply(int64_t rows, int64_t columns, int64_t sum, const Operand& left, const Pair* pairs, float* sums,
                bool add) const {
    at::native::cpublas::brgemm(rows, columns, sum, left.stride, kColumns, kColumns, add,
                                reinterpret_cast<const at::BFloat16*>(left.data),
                                reinterpret_cast<const at::BFloat16*>(pairs), sums);
  }
};

/// Where a matrix of 16 bits lies: [rows, columns], its rows contiguous or, transposed, its columns.
struct Matrix {
  const Bfloat16* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;
  bool transposed = false;
};

std::optional<Matrix> matrix_of(const at::Tensor& tensor) {
  Matrix matrix{static_cast<const Bfloat16*>(tensor.const_data_ptr()), tensor.size(0), tensor.size(1)};
  matrix.transposed = tensor.stride(1) != 1;
  if (matrix.transposed && tensor.stride(0) != 1) return std::nullopt;
  matrix.stride = tensor.stride(matrix.transposed ? 1 : 0);
  if (matrix.stride < (matrix.transposed ? matrix.rows : matrix.columns)) return std::nullopt;
  return matrix;
}

class TileProduct {
 public:
  /// nullopt where these numbers do not lie as tiles take them.
  static std::optional<TileProduct> of(const Product& product) {
    const std::optional<Matrix> left = matrix_of(product.left_MK), right = matrix_of(product.right_KN);
    const at::Tensor& out = product.out_MN;
    if (!left || !right || out.stride(1) != 1 || out.stride(0) < out.size(1)) return std::nullopt;
    const bool whole = left->transposed ? left->rows % parallel::kWholeColumns == 0 && !right->transposed
                                        : left->columns % parallel::kPaddedSum == 0 && left->rows >= kLeastRows;
    if (!whole || right->columns % parallel::kWholeColumns != 0) return std::nullopt;
    return TileProduct(product, *left, *right);
  }

  void multiply() const {
    const int64_t blocks = round_up(right_.columns, kColumns) / kColumns;
    const int64_t parts = std::min(blocks, parallel::threads_at_hand());
    parallel::for_each_part(parts, [&](int64_t part) {
      const at::AutoDispatchBelowADInplaceOrView below_autograd;
      const parallel::EvenPart own = parallel::even_part(blocks, part, parts);
      const Tiles tiles;
      if (!left_.transposed) return rows(tiles, own);
      const int64_t sum = round_up(left_.columns, parallel::kPaddedSum);
      const int64_t together = std::max<int64_t>(1, kMostPacked / (sum * kColumns));
      for (int64_t first = 0; first < own.count; first += together)
        sums_over_rows(tiles, {own.begin + first, std::min(together, own.count - first)});
    });
  }

 private:
  TileProduct(const Product& product, const Matrix& left, const Matrix& right)
      : product_(product), left_(left), right_(right), options_(product.left_MK.options()) {}

  int64_t columns_of(int64_t block) const { return std::min(kColumns, right_.columns - block * kColumns); }

  /// `sum` rows of the right matrix from `first`, in pairs.
  void pack(int64_t block, int64_t first, int64_t sum, Pair* pairs) const {
    const parallel::PairShape shape{.sum = sum, .columns = columns_of(block)};
    if (right_.transposed) {
      parallel::pairs_of_columns(shape, right_.data + block * kColumns * right_.stride + first, right_.stride, pairs,
                                 kColumns);
    } else {
      parallel::pairs_of_rows(shape, right_.data + first * right_.stride + block * kColumns, right_.stride, pairs,
                              kColumns);
    }
  }

  at::Tensor pairs(int64_t sum) const { return at::empty({sum / 2 * kColumns}, options_.dtype(at::kInt)); }
  static Pair* data(const at::Tensor& pairs) { return static_cast<Pair*>(pairs.mutable_data_ptr()); }

  /// Rows of the left matrix, as they are; those that are not in whole kLeastRows beside rows of nothing.
  void rows(const Tiles& tiles, const parallel::EvenPart& own) const {
    const int64_t sum = left_.columns, last = left_.rows - left_.rows % kFewRows;
    const at::Tensor packed = pairs(std::min(sum, kMostSum)), sums_RC = at::empty({kRows, kColumns}, at::kFloat);
    const at::Tensor end_RK = left_.rows % kLeastRows == 0 ? at::Tensor() : padded_rows(last);
    for (int64_t block = own.begin; block < own.begin + own.count; ++block) {
      if (sum <= kMostSum) pack(block, 0, sum, data(packed));
      for (int64_t row = 0; row < left_.rows;) {
        const int64_t count = count_at(row), whole = round_up(count, kLeastRows);
        const Bfloat16* const from =
            whole == count ? left_.data + row * left_.stride : static_cast<const Bfloat16*>(end_RK.const_data_ptr());
        for (int64_t first = 0; first < sum; first += kMostSum) {
          const int64_t of_sum = std::min(sum - first, kMostSum);
          if (sum > kMostSum) pack(block, first, of_sum, data(packed));
          tiles.multiply(whole, columns_of(block), of_sum, {from + first, left_.stride}, data(packed),
                         sums_RC.mutable_data_ptr<float>(), /*add=*/first > 0);
        }
        give(row, count, block, sums_RC);
        row += count;
      }
    }
  }

  at::Tensor padded_rows(int64_t first) const {
    const int64_t there = left_.rows - first, all = round_up(there, kLeastRows);
    at::Tensor rows_RK = at::empty({all, left_.stride}, options_);
    auto* const to = static_cast<Bfloat16*>(rows_RK.mutable_data_ptr());
    const auto row_bytes = static_cast<size_t>(left_.columns) * sizeof(Bfloat16);
    for (int64_t r = 0; r < all; ++r) {
      if (r < there) {
        std::memcpy(to + r * left_.stride, left_.data + (first + r) * left_.stride, row_bytes);
      } else {
        std::memset(to + r * left_.stride, 0, row_bytes);
      }
    }
    return rows_RK;
  }

  void give(int64_t row, int64_t count, int64_t block, const at::Tensor& sums_RC) const {
    const at::Tensor& out = product_.out_MN;
    const int64_t columns = columns_of(block), place = row * out.stride(0) + block * kColumns;
    const auto* const sums = sums_RC.const_data_ptr<float>();
    const auto give_to = [&](auto* to) {
      parallel::give_sums(count, columns, sums, kColumns, to + place, out.stride(0), product_.add);
    };
    out.scalar_type() == at::kFloat ? give_to(out.mutable_data_ptr<float>())
                                    : give_to(static_cast<Bfloat16*>(out.mutable_data_ptr()));
  }

  /// Rows are what is summed up over: of the left matrix its columns, as rows, in steps of which there are few sizes.
  void sums_over_rows(const Tiles& tiles, const parallel::EvenPart& own) const {
    const int64_t sum = round_up(left_.columns, parallel::kPaddedSum);
    int64_t most = kRows;
    while (most > kLeastRows && most * sum > kMostTurned) most /= 2;
    const at::Tensor packed = pairs(sum * own.count), turned = at::empty({most * sum}, options_),
                     sums_RC = at::empty({kRows, kColumns}, at::kFloat);
    const auto packed_of = [&](int64_t block) { return data(packed) + (block - own.begin) * sum / 2 * kColumns; };
    for (int64_t block = own.begin; block < own.begin + own.count; ++block)
      pack(block, 0, left_.columns, packed_of(block));
    auto* const rows = static_cast<Bfloat16*>(turned.mutable_data_ptr());
    const auto for_each_step = [&](const auto& action) {
      for (int64_t first = 0; first < sum;) {
        const int64_t step = step_at(sum - first);
        action(first, step);
        first += step;
      }
    };
    for (int64_t row = 0; row < left_.rows;) {
      const int64_t count = std::min(most, count_at(row));
      for_each_step([&](int64_t first, int64_t step) {
        parallel::columns_as_rows({.sum = std::min(step, left_.columns - first), .columns = count},
                                  left_.data + first * left_.stride + row, left_.stride, rows + first * count, step);
      });
      for (int64_t block = own.begin; block < own.begin + own.count; ++block) {
        for_each_step([&](int64_t first, int64_t step) {
          tiles.multiply(count, columns_of(block), step, {rows + first * count, step},
                         packed_of(block) + first / 2 * kColumns, sums_RC.mutable_data_ptr<float>(),
                         /*add=*/first > 0);
        });
        give(row, count, block, sums_RC);
      }
      row += count;
    }
  }

  /// How many rows are computed at once from `row` on.
  int64_t count_at(int64_t row) const {
    int64_t count = kRows;
    const int64_t there = left_.rows - row;
    while (count > std::max(there, kFewRows)) count /= 2;
    return std::min(count, there);
  }
  /// Of so many padded numbers that are to be summed up: halved until it fits.
  static int64_t step_at(int64_t left) {
    int64_t step = kMostStep;
    while (step > left) step /= 2;
    return step;
  }

  const Product& product_;
  Matrix left_, right_;
  at::TensorOptions options_;
};

/// Tried with numbers whose sums are exact.
bool tiles_are_right() {
  const at::Tensor left_MK = at::remainder(at::arange(48 * 96, at::kFloat), 7).view({48, 96}).to(at::kBFloat16);
  const at::Tensor right_KN = at::remainder(at::arange(96 * 80, at::kFloat), 5).view({96, 80}).to(at::kBFloat16);
  const at::Tensor right_rows_KN = right_KN.t().contiguous().t(), left_rows_MK = left_MK.t().contiguous().t();
  // By no product, lest one is noted that nobody asked for (launch/bench).
  const at::Tensor wanted_MN = at::sum(left_MK.to(at::kFloat).unsqueeze(2) * right_KN.to(at::kFloat), 1);
  const auto is_right = [&](const at::Tensor& left, const at::Tensor& right) {
    const Product product{at::empty_like(wanted_MN), left, right};
    const std::optional<TileProduct> tiles = TileProduct::of(product);
    if (!tiles) return false;
    tiles->multiply();
    return at::equal(product.out_MN, wanted_MN);
  };
  return is_right(left_MK, right_KN) && is_right(left_MK, right_rows_KN) && is_right(left_rows_MK, right_KN);
}

}  // namespace

bool has_tiles() {
  static const bool kFound = [] {
#if defined(__x86_64__) && defined(__GNUC__)
    try {
      const at::AutoDispatchBelowADInplaceOrView below_autograd;
      return has_wide_sums() && __builtin_cpu_supports("amx-bf16") != 0 &&
             at::get_cpu_capability().starts_with("AVX512") && at::native::cpublas::could_pack(at::kBFloat16) &&
             tiles_are_right();
    } catch (const std::exception&) {
      return false;
    }
#else
    return false;
#endif
  }();
  return kFound;
}

bool multiply_by_tiles(const Product& product) {
  const at::Tensor& out = product.out_MN;
  const bool typed = parallel::has_loops(out) && product.left_MK.scalar_type() == at::kBFloat16 &&
                     product.right_KN.scalar_type() == at::kBFloat16 &&
                     (out.scalar_type() == at::kBFloat16 || out.scalar_type() == at::kFloat);
  if (!typed || !has_tiles() || out.numel() == 0 || product.left_MK.numel() == 0) return false;
  parallel::check_internal(product.left_MK.size(1) == product.right_KN.size(0) &&
                               out.size(0) == product.left_MK.size(0) && out.size(1) == product.right_KN.size(1),
                           "multiply_by_tiles: ", product.left_MK.sizes(), " by ", product.right_KN.sizes(), " into ",
                           out.sizes());
  const std::optional<TileProduct> tiles = TileProduct::of(product);
  if (!tiles) return false;
  RECORD_FUNCTION("moetrain::tile_product", std::vector<c10::IValue>({product.left_MK, product.right_KN}));
  tiles->multiply();
  return true;
}

}  // namespace moetrain
