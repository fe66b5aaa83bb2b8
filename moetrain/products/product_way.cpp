#include "moetrain/products/product_way.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "moetrain/products/openblas.h"
#include "moetrain/products/tile_product.h"
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

/// MKL's, of which LibTorch shows the symbol: c = alpha a b + beta c, a and b of bf16.
using WideGemm = void (*)(int order, int left, int right, int m, int n, int k, float alpha, const void* a, int a_stride,
                          const void* b, int b_stride, float beta, float* c, int c_stride);

/// Whether MKL is told to leave instructions alone that a processor has.
bool mkl_is_held() {
  const auto names_less = [](const char* variable) {
    const char* const said = std::getenv(variable);
    return said != nullptr && std::string_view(said).find("AVX512") == std::string_view::npos;
  };
  return names_less("MKL_CBWR") || names_less("MKL_ENABLE_INSTRUCTIONS");
}

/// Null where LibTorch has no MKL, or this processor no instructions for it: then it is slower than oneDNN by far.
WideGemm wide_gemm() {
  static const WideGemm kFound = []() -> WideGemm {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_is("intel") && __builtin_cpu_supports("avx512bf16") && !mkl_is_held())
      return reinterpret_cast<WideGemm>(dlsym(RTLD_DEFAULT, "cblas_gemm_bf16bf16f32"));
#endif
    return nullptr;
  }();
  return kFound;
}

/// How a BLAS is told of a matrix: the distance of its rows, or transposed of its columns.
struct Layout {
  int stride = 0;
  bool transposed = false;
};

/// nullopt where neither its rows nor its columns are contiguous.
std::optional<Layout> layout_of(const at::Tensor& matrix) {
  const int64_t rows = matrix.size(0), columns = matrix.size(1);
  const bool transposed = matrix.stride(1) != 1 && columns != 1;
  const int64_t stride = std::max(matrix.stride(transposed ? 1 : 0), transposed ? rows : columns);
  if (transposed && matrix.stride(0) != 1 && rows != 1) return std::nullopt;
  // A row or a column that stands for all of them has no place of its own.
  if (matrix.stride(transposed ? 1 : 0) < (transposed ? rows : columns) && (transposed ? columns : rows) > 1)
    return std::nullopt;
  if (!fits_int(rows) || !fits_int(columns) || !fits_int(stride)) return std::nullopt;
  return Layout{static_cast<int>(stride), transposed};
}

bool by_openblas(const Product& product) {
  const auto& [out, left, right, add] = product;
  const auto to = layout_of(out), a = layout_of(left), b = layout_of(right);
  if (!to || !a || !b || to->transposed) return false;
  OpenBlas::at_hand()->multiply(
      static_cast<int>(out.size(0)), static_cast<int>(out.size(1)), static_cast<int>(left.size(1)),
      {left.const_data_ptr<float>(), a->stride, a->transposed},
      {right.const_data_ptr<float>(), b->stride, b->transposed}, {out.mutable_data_ptr<float>(), to->stride, add});
  return true;
}

void by_libtorch(const Product& product) {
  at::Tensor out = product.out_MN;
  if (product.add) {
    out.addmm_(product.left_MK, product.right_KN);
  } else {
    at::mm_out(out, product.left_MK, product.right_KN);
  }
}

/// Float32 sums that are rounded to where they belong.
bool by_wide_sums(const Product& product) {
  at::Tensor out = product.out_MN;
  const at::Tensor sums_MN = product.add ? out.to(at::kFloat) : at::empty(out.sizes(), out.options().dtype(at::kFloat));
  if (!multiply_wide(sums_MN, product.left_MK, product.right_KN, {.product = 1, .kept = product.add ? 1.0 : 0.0}))
    return false;
  out.copy_(sums_MN);
  return true;
}

/// Of bf16, by kernels that do not hang on how many rows an expert has: in tiles; where these do not fit oneDNN, which
/// makes one for each shape, has whole blocks of rows and what is left of one; where rows are what is summed up over,
/// MKL.
void multiply_low(const Product& product) {
  if (multiply_by_tiles(product)) return;
  const at::Tensor& left = product.left_MK;
  const bool over_rows = left.stride(1) != 1 && left.size(1) != 1;
  if (over_rows && by_wide_sums(product)) return;
  const int64_t rows = left.size(0), whole = over_rows ? 0 : rows / kLowBlock * kLowBlock;
  if (whole == 0 || whole == rows) return by_libtorch(product);
  const auto part = [&](int64_t first, int64_t count) {
    by_libtorch({product.out_MN.narrow(0, first, count), left.narrow(0, first, count), product.right_KN, product.add});
  };
  part(0, whole);
  part(whole, rows - whole);
}

void multiply(const Product& product, ProductLibrary library) {
  at::Tensor out = product.out_MN;
  if (out.numel() == 0) return;
  if (out.scalar_type() != product.left_MK.scalar_type()) {
    if (multiply_by_tiles(product)) return;
    if (multiply_wide(out, product.left_MK, product.right_KN, {.product = 1, .kept = product.add ? 1.0 : 0.0})) return;
    const at::Tensor low_MN = at::empty(out.sizes(), product.left_MK.options());
    multiply({low_MN, product.left_MK, product.right_KN}, library);
    product.add ? out.add_(low_MN) : out.copy_(low_MN);
    return;
  }
  if (product.left_MK.size(1) > 0) {
    if (library == ProductLibrary::kOpenBlas && by_openblas(product)) return;
    if (parallel::has_loops(out) && out.scalar_type() == at::kBFloat16) {
      if (library != ProductLibrary::kOneDnn) return multiply_low(product);
    } else if (library == ProductLibrary::kOneDnn) {
      return one_dnn()(product.left_MK, product.right_KN, out, product.add ? 1.0F : 0.0F, 1.0F);
    }
  }
  by_libtorch(product);
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

bool all_of_type(const std::vector<Product>& products, at::ScalarType type) {
  return std::ranges::all_of(products, [&](const Product& product) {
    return parallel::has_loops(product.out_MN) && product.left_MK.scalar_type() == type;
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

bool has_wide_sums() { return wide_gemm() != nullptr; }

bool multiply_wide(const at::Tensor& out_MN, const at::Tensor& left_MK, const at::Tensor& right_KN,
                   const SumFactors& factors) {
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const bool typed = parallel::has_loops(out_MN) && out_MN.scalar_type() == at::kFloat &&
                     left_MK.scalar_type() == at::kBFloat16 && right_KN.scalar_type() == at::kBFloat16;
  if (!has_wide_sums() || !typed || out_MN.numel() == 0 || left_MK.numel() == 0) return false;
  parallel::check_internal(
      left_MK.size(1) == right_KN.size(0) && out_MN.size(0) == left_MK.size(0) && out_MN.size(1) == right_KN.size(1),
      "multiply_wide: ", left_MK.sizes(), " by ", right_KN.sizes(), " into ", out_MN.sizes());
  const auto to = layout_of(out_MN), a = layout_of(left_MK), b = layout_of(right_KN);
  if (!to || !a || !b || to->transposed) return false;
  RECORD_FUNCTION("moetrain::wide_product", std::vector<c10::IValue>({left_MK, right_KN}));
  wide_gemm()(kRowMajor, a->transposed ? kTransposed : kPlain, b->transposed ? kTransposed : kPlain,
              static_cast<int>(out_MN.size(0)), static_cast<int>(out_MN.size(1)), static_cast<int>(left_MK.size(1)),
              static_cast<float>(factors.product), left_MK.const_data_ptr<at::BFloat16>(), a->stride,
              right_KN.const_data_ptr<at::BFloat16>(), b->stride, static_cast<float>(factors.kept),
              out_MN.mutable_data_ptr<float>(), to->stride);
  return true;
}

void multiply_all(const std::vector<Product>& products, const ProductWay& way) {
  const bool as_asked = all_of_type(products, at::kFloat) && is_legal(way.library, at::kFloat);
  const bool low = all_of_type(products, at::kBFloat16);
  const bool taken = as_asked || (low && way.library != ProductLibrary::kOpenBlas);
  const ProductLibrary library = taken ? static_cast<ProductLibrary>(way.library) : ProductLibrary::kLibTorch;
  const bool spread = as_asked && (way.spread || library == ProductLibrary::kOpenBlas);
  if (spread && parallel::threads_at_hand() > 1) return multiply_spread(products, library);
  for (const Product& product : products) multiply(product, library);
}

}  // namespace moetrain
