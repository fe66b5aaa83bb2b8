// defines: ProductLibrary, ProductWay, Product, is_legal, library_facts, ways_at_hand, multiply_all, kLowBlock,
// has_wide_sums, SumFactors, multiply_wide: who multiplies the matrices of experts on the processor
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

#include "parallel/base/enum.h"

namespace moetrain {

/// kLibTorch: at::mm, of its wheels MKL; of bf16 in tiles or in shapes that come again, below. kOneDnn: the copy inside
/// LibTorch, which is its at::mm of bf16, in any shape. kOpenBlas: Debian's serial one, where it is installed.
enum class ProductLibrary { kLibTorch, kOneDnn, kOpenBlas };
constexpr std::array<const char*, 3> names_of(ProductLibrary) { return {"libtorch", "onednn", "openblas"}; }

/// Who computes a layer's products, and how they share LibTorch's threads (there are no others).
struct ProductWay {
  parallel::Enum<ProductLibrary> library = ProductLibrary::kLibTorch;
  /// Every thread computes an even share of all results' rows by itself. Otherwise one product comes after another,
  /// each by all threads.
  bool spread = false;

  bool operator==(const ProductWay&) const = default;
  /// "openblas, spread"
  std::string describe() const;
};

/// out = left right, or out += left right; [M, N] = [M, K] [K, N], each of which may be a transposed view. out may be
/// of float32 where the others are of bf16.
struct Product {
  at::Tensor out_MN, left_MK, right_KN;
  bool add = false;
};

/// Whether this library is at hand and multiplies such numbers; kLibTorch always.
bool is_legal(ProductLibrary library, at::ScalarType type);

/// What was found of the libraries other than LibTorch's own: the place and version of OpenBLAS, or why there is none.
/// Looked for at the first call: the file that the environment's MOETRAIN_OPENBLAS names, or Debian's
/// libopenblas0-serial. A build with threads of its own is none: they would compete with LibTorch's for the cores.
std::string library_facts();

/// All ways that this process has for float32 matrices, LibTorch's own first: of one thread each library once.
std::vector<ProductWay> ways_at_hand();

/// All `products`, outside autograd. Of other than float32 matrices on the processor one after another; float64's, and
/// those of a library that is not at hand or knows no bf16, by LibTorch's own. The same bits whenever way, threads and
/// shapes are the same.
void multiply_all(const std::vector<Product>& products, const ProductWay& way);

constexpr int64_t kLowBlock = 64;  // rows of bf16

// at::mm of bf16 is oneDNN's, which makes a kernel for each shape that it has not seen, in 1 to 3 ms, several times
// what a product of a fine expert takes; and experts have other numbers of rows in every update. So multiply_all
// computes in tiles where it can (tile_product.h). Elsewhere it asks oneDNN for whole blocks of rows and for what is
// left of one, and where the rows are what is summed up over, MKL:

/// Whether LibTorch has MKL's products of bf16 matrices with float32 sums, which need no such kernels, and this
/// processor, one of Intel's, instructions for them that MKL is not told to leave alone (MKL_CBWR).
bool has_wide_sums();

/// out = kept out + product left right; kept 0: whatever is there.
struct SumFactors {
  double product = 1, kept = 0;
};

/// By MKL: out_MN in float32, the others in bf16, on the processor. By all threads, outside autograd; false, and
/// nothing done, where there is none, or where numbers lie as no such product takes them.
bool multiply_wide(const at::Tensor& out_MN, const at::Tensor& left_MK, const at::Tensor& right_KN,
                   const SumFactors& factors = {});

}  // namespace moetrain
