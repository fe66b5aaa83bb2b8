#include "moetrain/products/product_way.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "moetrain/products/openblas.h"
#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/threads.h"

namespace moetrain {
namespace {

/// LibTorch's own call of oneDNN, of which it shows the symbol and no header: out = beta out + alpha left right.
using OneDnn = void (*)(const at::Tensor& left, const at::Tensor& right, const at::Tensor& out, float beta,
                        float alpha);

/// Null where this LibTorch has none, or one that refuses float32.
OneDnn one_dnn() {
  static const OneDnn kFound = []() -> OneDnn {
    const auto found =
        reinterpret_cast<OneDnn>(dlsym(RTLD_DEFAULT, "_ZN2at6native13mkldnn_matmulERKNS_6TensorES3_S3_ff"));
    if (found == nullptr) return nullptr;
    try {
      const at::Tensor one = at::eye(16, at::kFloat), out = at::zeros({16, 16}, at::kFloat);
      found(one, one, out, 0.0F, 1.0F);
      return at::equal(one, out) ? found : nullptr;
    } catch (const std::exception&) {
      return nullptr;
    }
  }();
  return kFound;
}

bool fits_int(int64_t number) { return number <= std::numeric_limits<int>::max(); }

/// How OpenBLAS is told of a matrix; nullopt where neither its rows nor its columns are contiguous.
std::optional<OpenBlas::Matrix> plain(const at::Tensor& matrix) {
  const int64_t rows = matrix.size(0), columns = matrix.size(1);
  const bool transposed = matrix.stride(1) != 1 && columns != 1;
  const int64_t stride = std::max(matrix.stride(transposed ? 1 : 0), transposed ? rows : columns);
  if (transposed && matrix.stride(0) != 1 && rows != 1) return std::nullopt;
  // A row or a column that stands for all of them has no place of its own.
  if (matrix.stride(transposed ? 1 : 0) < (transposed ? rows : columns) && (transposed ? columns : rows) > 1)
    return std::nullopt;
  if (!fits_int(rows) || !fits_int(columns) || !fits_int(stride)) return std::nullopt;
  return OpenBlas::Matrix{matrix.const_data_ptr<float>(), static_cast<int>(stride), transposed};
}

bool by_openblas(const Product& product) {
  const auto& [out, left, right, add] = product;
  const auto to = plain(out), a = plain(left), b = plain(right);
  if (!to || !a || !b || to->transposed) return false;
  OpenBlas::at_hand()->multiply(static_cast<int>(out.size(0)), static_cast<int>(out.size(1)),
                                static_cast<int>(left.size(1)), *a, *b,
                                {out.mutable_data_ptr<float>(), to->stride, add});
  return true;
}

void multiply(const Product& product, ProductLibrary library) {
  at::Tensor out = product.out_MN;
  if (out.numel() == 0) return;
  if (product.left_MK.size(1) > 0) {
    if (library == ProductLibrary::kOpenBlas && by_openblas(product)) return;
    if (library == ProductLibrary::kOneDnn)
      return one_dnn()(product.left_MK, product.right_KN, out, product.add ? 1.0F : 0.0F, 1.0F);
  }
  if (product.add) {
    out.addmm_(product.left_MK, product.right_KN);
  } else {
    at::mm_out(out, product.left_MK, product.right_KN);
  }
}

double work_of_row(const Product& product) {
  return static_cast<double>(product.out_MN.size(1)) * static_cast<double>(product.left_MK.size(1));
}

/// Rows of one product that one thread computes.
struct Share {
  size_t product = 0;
  int64_t begin = 0, end = 0;
};

/// What thread `index` of `threads` computes: an even part of the work, cut at whole blocks of rows.
std::vector<Share> share_of(const std::vector<Product>& products, int64_t index, int64_t threads) {
  constexpr int64_t kBlock = 16;  // rows; a cut inside of one would leave kernels that run half empty
  double all = 0;
  for (const Product& product : products) all += work_of_row(product) * static_cast<double>(product.out_MN.size(0));
  const double first = all * static_cast<double>(index) / static_cast<double>(threads);
  const double last = all * static_cast<double>(index + 1) / static_cast<double>(threads);
  std::vector<Share> shares;
  double before = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const int64_t rows = products[i].out_MN.size(0);
    const double of_row = work_of_row(products[i]);
    const auto row_at = [&](double place) {
      if (of_row == 0 || place <= before) return int64_t{0};
      const double row = std::min((place - before) / of_row, static_cast<double>(rows));
      return std::min(rows, (static_cast<int64_t>(row) + kBlock / 2) / kBlock * kBlock);
    };
    const int64_t begin = index == 0 ? 0 : row_at(first), end = index + 1 == threads ? rows : row_at(last);
    if (begin < end) shares.push_back({i, begin, end});
    before += of_row * static_cast<double>(rows);
  }
  return shares;
}

void multiply_spread(const std::vector<Product>& products, ProductLibrary library) {
  const int64_t threads = parallel::threads_at_hand();
  parallel::for_each_part(threads, [&](int64_t index) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (const Share& share : share_of(products, index, threads)) {
      const Product& whole = products[share.product];
      const int64_t rows = share.end - share.begin;
      multiply({whole.out_MN.narrow(0, share.begin, rows), whole.left_MK.narrow(0, share.begin, rows), whole.right_KN,
                whole.add},
               library);
    }
  });
}

bool all_float32(const std::vector<Product>& products) {
  return std::ranges::all_of(products, [](const Product& product) {
    return parallel::has_loops(product.out_MN) && product.out_MN.scalar_type() == at::kFloat;
  });
}

}  // namespace

std::string ProductWay::describe() const { return parallel::concat(library, spread ? ", spread" : ""); }

bool is_legal(ProductLibrary library, at::ScalarType type) {
  if (library == ProductLibrary::kLibTorch) return true;
  if (type != at::kFloat) return false;
  return library == ProductLibrary::kOneDnn ? one_dnn() != nullptr : OpenBlas::at_hand() != nullptr;
}

std::string library_facts() {
  return parallel::concat(one_dnn() != nullptr ? "oneDNN of LibTorch; " : "", OpenBlas::facts());
}

std::vector<ProductWay> ways_at_hand() {
  std::vector<ProductWay> ways;
  const bool several = parallel::threads_at_hand() > 1;
  for (const ProductLibrary library : {ProductLibrary::kLibTorch, ProductLibrary::kOneDnn, ProductLibrary::kOpenBlas}) {
    if (!is_legal(library, at::kFloat)) continue;
    if (library != ProductLibrary::kOpenBlas) ways.push_back({library, /*spread=*/false});
    if (several || library == ProductLibrary::kOpenBlas) ways.push_back({library, /*spread=*/several});
  }
  return ways;
}

void multiply_all(const std::vector<Product>& products, const ProductWay& way) {
  const bool as_asked = all_float32(products) && is_legal(way.library, at::kFloat);
  const ProductLibrary library = as_asked ? static_cast<ProductLibrary>(way.library) : ProductLibrary::kLibTorch;
  const bool spread = as_asked && (way.spread || library == ProductLibrary::kOpenBlas);
  if (spread && parallel::threads_at_hand() > 1) return multiply_spread(products, library);
  for (const Product& product : products) multiply(product, library);
}

}  // namespace moetrain
