#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "moetrain/products/grouped_gemm.h"
#include "moetrain/products/openblas.h"
#include "moetrain/products/product_rule.h"
#include "tests/support/random_tensor.h"
#include "tests/support/threads.h"

namespace moetrain {
namespace {

using Counts = std::vector<int64_t>;

/// A rule as long as it lives.
class Rule {
 public:
  explicit Rule(const ProductWay& way) { use_products({.otherwise = way}); }
  ~Rule() { use_products({}); }
  Rule(const Rule&) = delete;
  Rule& operator=(const Rule&) = delete;
};

struct Results {
  at::Tensor forward, input_gradient, weight_gradient;
};

std::string rule_name(ProductLibrary library) { return ProductWay{library, false}.describe(); }

/// as: the numbers that go in are rounded to it first.
Results products_of(const Counts& counts, at::ScalarType type, at::ScalarType as) {
  constexpr int64_t kIn = 24, kOut = 40;
  const auto experts = static_cast<int64_t>(counts.size());
  int64_t rows = 0;
  for (const int64_t count : counts) rows += count;
  const auto drawn = [&](const char* name, at::IntArrayRef shape) {
    return random_tensor(name, shape).to(as).to(type);
  };
  const at::Tensor in = drawn("in", {rows, kIn}), out = drawn("out", {rows, kOut}),
                   weight = drawn("weight", {experts, kIn, kOut});
  at::Tensor gradient = at::full({experts, kIn, kOut}, 7.0, at::TensorOptions(type));
  grouped_weight_gradient_out(gradient, in, out, counts);
  return {grouped_mm(in, weight, counts), grouped_mm_transposed(out, weight, counts), gradient};
}

Results products_of(const Counts& counts, at::ScalarType type) { return products_of(counts, type, type); }

void expect_close(const at::Tensor& got, const at::Tensor& wanted, double bound) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  if (got.numel() == 0) return;
  EXPECT_LE((got.to(at::kDouble) - wanted).abs().max().item<double>(), bound * wanted.abs().max().item<double>());
}

/// Where processors have products for it, and where they have not.
TEST(Products, Of16BitsIntoFloat32) {
  const at::Tensor left = random_tensor("left", {70, 33}).to(at::kBFloat16),
                   right = random_tensor("right", {33, 41}).to(at::kBFloat16);
  const at::Tensor wanted = left.to(at::kDouble).mm(right.to(at::kDouble));
  for (const bool add : {false, true}) {
    for (const at::Tensor& out : {at::full({70, 41}, 3, at::kFloat), at::full({41, 70}, 3, at::kFloat).t()}) {
      multiply_all({{out, left, right, add}}, {});
      expect_close(out, add ? wanted + 3 : wanted, 1.0 / 128);
      multiply_all({{out, left.narrow(1, 0, 0), right.narrow(0, 0, 0), add}}, {});
      expect_close(out, add ? wanted + 3 : at::zeros_like(wanted), 1.0 / 128);
    }
  }
}

TEST(Products, EveryWayAtHandGivesTheProducts) {
  const std::vector<Counts> loads = {{5, 0, 17, 1, 64}, {0, 0, 0}, {300}, {1, 1, 1, 1, 1, 1, 1, 1}, {0, 97, 0, 200}};
  for (const int threads : {1, 2, 3}) {
    const Threads own(threads);
    const std::vector<ProductWay> ways = ways_at_hand();
    ASSERT_FALSE(ways.empty());
    EXPECT_EQ(ways.front(), ProductWay{});
    for (const ProductWay& way : ways) {
      const Rule rule(way);
      for (const Counts& counts : loads) {
        SCOPED_TRACE(way.describe() + " on " + std::to_string(threads));
        const Results got = products_of(counts, at::kFloat);
        const Results again = products_of(counts, at::kFloat);
        EXPECT_TRUE(at::equal(got.forward, again.forward));
        EXPECT_TRUE(at::equal(got.weight_gradient, again.weight_gradient));
        use_products({});
        const Results wanted = products_of(counts, at::kDouble);
        use_products({.otherwise = way});
        expect_close(got.forward, wanted.forward, 1e-5);
        expect_close(got.input_gradient, wanted.input_gradient, 1e-5);
        expect_close(got.weight_gradient, wanted.weight_gradient, 1e-5);
      }
    }
  }
}

TEST(Products, EveryWayAtHandAddsToWhatIsThere) {
  const std::vector<Counts> loads = {{5, 0, 17, 1, 64}, {300}, {0, 97, 0, 200}};
  for (const int threads : {1, 3}) {
    const Threads own(threads);
    for (const ProductWay& way : ways_at_hand()) {
      for (const Counts& counts : loads) {
        SCOPED_TRACE(way.describe() + " on " + std::to_string(threads));
        const Rule rule(way);
        int64_t rows = 0;
        for (const int64_t count : counts) rows += count;
        const at::Tensor there = random_tensor("there", {rows, 24}), in = random_tensor("in", {rows, 40}),
                         weight = random_tensor("weight", {std::ssize(counts), 24, 40});
        at::Tensor wanted = there.clone(), got = there.to(at::kFloat);
        grouped_mm_transposed_out(wanted, in, weight, counts, /*add=*/true);
        EXPECT_TRUE(wanted.allclose(there + grouped_mm_transposed(in, weight, counts), 1e-12, 1e-12));
        grouped_mm_transposed_out(got, in.to(at::kFloat), weight.to(at::kFloat), counts, /*add=*/true);
        expect_close(got, wanted, 1e-5);
      }
    }
  }
}

TEST(Products, OtherTypesAreLibTorchsWhateverTheRuleSays) {
  const Counts counts{40, 0, 13};
  const Results plain = products_of(counts, at::kDouble);
  for (const ProductLibrary library : {ProductLibrary::kOneDnn, ProductLibrary::kOpenBlas}) {
    const Rule rule({library, /*spread=*/true});
    const Results got = products_of(counts, at::kDouble);
    EXPECT_TRUE(at::equal(got.forward, plain.forward));
    EXPECT_TRUE(at::equal(got.input_gradient, plain.input_gradient));
    EXPECT_TRUE(at::equal(got.weight_gradient, plain.weight_gradient));
  }
}

/// In bf16 by either way: sums in float32, rounded once.
TEST(Products, OfBf16RoundTheirSumsOnce) {
  const std::vector<Counts> loads = {{5, 0, 17, 1, 64}, {300}, {0, 97, 0, 200}};
  for (const int threads : {1, 3}) {
    const Threads own(threads);
    for (const ProductLibrary library :
         {ProductLibrary::kLibTorch, ProductLibrary::kOneDnn, ProductLibrary::kOpenBlas}) {
      const Rule rule({library, /*spread=*/false});
      for (const Counts& counts : loads) {
        SCOPED_TRACE(rule_name(library) + " on " + std::to_string(threads));
        const Results got = products_of(counts, at::kBFloat16), again = products_of(counts, at::kBFloat16);
        EXPECT_TRUE(at::equal(got.forward, again.forward));
        EXPECT_TRUE(at::equal(got.weight_gradient, again.weight_gradient));
        const Results wanted = products_of(counts, at::kDouble, at::kBFloat16);
        expect_close(got.forward, wanted.forward, 0x1.1p-8);
        expect_close(got.input_gradient, wanted.input_gradient, 0x1.1p-8);
        expect_close(got.weight_gradient, wanted.weight_gradient, 0x1.1p-8);
      }
    }
  }
}

TEST(Products, WideSumsAreAddedToWhatIsThere) {
  const auto drawn = [](const char* name, at::IntArrayRef shape) {
    return random_tensor(name, shape).to(at::kBFloat16);
  };
  const at::Tensor left = drawn("left", {37, 50}), right = drawn("right", {50, 23}),
                   there = random_tensor("there", {37, 23});
  const at::Tensor exact = at::mm(left.to(at::kDouble), right.to(at::kDouble));
  for (const bool transposed : {false, true}) {
    const at::Tensor a = transposed ? left.t().contiguous().t() : left,
                     b = transposed ? right.t().contiguous().t() : right;
    at::Tensor sum = there.to(at::kFloat),
               fresh = at::full({37, 23}, std::numeric_limits<float>::quiet_NaN(), at::kFloat);
    EXPECT_EQ(multiply_wide(sum, a, b, {.product = 0.5, .kept = 1}), has_wide_sums());
    EXPECT_EQ(multiply_wide(fresh, a, b), has_wide_sums());
    if (!has_wide_sums()) continue;
    expect_close(sum, there + 0.5 * exact, 1e-6);
    expect_close(fresh, exact, 1e-6);
  }
  at::Tensor columns = at::zeros({23, 37}, at::kFloat).t();  // no result lies so
  EXPECT_FALSE(multiply_wide(columns, left, right));
  EXPECT_TRUE(columns.eq(0).all().item<bool>());
}

TEST(Products, TheDefaultIsAtMmBitForBit) {
  const at::Tensor a = random_tensor("a", {65, 33}).to(at::kFloat), b = random_tensor("b", {33, 17}).to(at::kFloat);
  at::Tensor out = at::empty({65, 17});
  multiply_all({{out, a, b}}, {});
  EXPECT_TRUE(at::equal(out, at::mm(a, b)));
}

TEST(Products, ALibraryThatIsNotAtHandIsLibTorch) {
  const at::Tensor a = random_tensor("a", {64, 32}).to(at::kFloat), b = random_tensor("b", {32, 16}).to(at::kFloat);
  at::Tensor out = at::empty({64, 16});
  multiply_all({{out, a, b}}, {ProductLibrary::kOpenBlas, /*spread=*/false});
  if (OpenBlas::at_hand() == nullptr) {
    EXPECT_TRUE(at::equal(out, at::mm(a, b)));
    EXPECT_NE(library_facts().find("OpenBLAS: none"), std::string::npos) << library_facts();
  } else {
    EXPECT_TRUE(at::allclose(out, at::mm(a, b), 1e-4, 1e-5));
    EXPECT_NE(library_facts().find("OpenBLAS"), std::string::npos) << library_facts();
  }
}

TEST(ProductRule, TakesTheNearestRowsOfTheSameProduct) {
  const ProductWay spread{ProductLibrary::kLibTorch, true}, dnn{ProductLibrary::kOneDnn, false};
  const ProductRule rule{
      .otherwise = {},
      .entries = {{{ProductKind::kForward, 8, 16, 100}, spread}, {{ProductKind::kForward, 8, 16, 1000}, dnn}}};
  EXPECT_EQ(rule.way({ProductKind::kForward, 8, 16, 1}), spread);
  EXPECT_EQ(rule.way({ProductKind::kForward, 8, 16, 300}), spread);  // 3 x from 100, 3.3 x from 1000
  EXPECT_EQ(rule.way({ProductKind::kForward, 8, 16, 330}), dnn);
  EXPECT_EQ(rule.way({ProductKind::kForward, 16, 8, 100}), ProductWay{});
  EXPECT_EQ(rule.way({ProductKind::kWeightGradient, 8, 16, 100}), ProductWay{});
}

TEST(ProductRule, LeavesLibTorchForAGainAlone) {
  const std::vector<ProductWay> ways{{}, {ProductLibrary::kOpenBlas, true}, {ProductLibrary::kOneDnn, false}};
  const GroupedShape shape{ProductKind::kForward, 8, 16, 100};
  EXPECT_EQ(rule_of({{shape, 1, {1.0, 0.98, 1.5}}}, ways).way(shape), ways[0]);
  EXPECT_EQ(rule_of({{shape, 1, {1.0, 0.90, 0.80}}}, ways).way(shape), ways[2]);
}

TEST(ProductRule, TimesEveryWay) {
  const std::vector<ProductWay> ways = ways_at_hand();
  for (const ProductKind kind : {ProductKind::kForward, ProductKind::kInputGradient, ProductKind::kWeightGradient}) {
    const TimedWays timed = time_ways({kind, 16, 24, 9}, 3, ways, 0.01);
    ASSERT_EQ(timed.seconds.size(), ways.size());
    for (const double seconds : timed.seconds) EXPECT_GT(seconds, 0);
    EXPECT_EQ(timed.multiply_adds(), 16.0 * 24 * 9 * 3);
  }
}

/// Once every library has multiplied on several threads.
TEST(Products, OneOpenMpIsLoaded) {
  const Threads two(2);
  for (const ProductWay& way : ways_at_hand()) {
    const Rule rule(way);
    products_of({200, 100}, at::kFloat);
  }
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> found;
  for (std::string line; std::getline(maps, line);) {
    const size_t name = line.rfind('/');
    if (name == std::string::npos) continue;
    const std::string file = line.substr(line.find('/'));
    for (const char* runtime : {"libgomp", "libiomp", "libomp."}) {
      if (line.compare(name + 1, std::string(runtime).size(), runtime) == 0) found.insert(file);
    }
  }
  EXPECT_EQ(found.size(), 1U);
}

}  // namespace
}  // namespace moetrain
