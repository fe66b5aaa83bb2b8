#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <stdexcept>

#include "launch/bench/loads.h"
#include "launch/bench/product_limit.h"
#include "launch/profiles/product_file.h"
#include "moetrain/attention/attention_product.h"
#include "moetrain/products/product_rule.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

constexpr Load kForced[] = {Load::kEven,      Load::kHot,      Load::kZipf, Load::kHotRank,
                            Load::kHalfEmpty, Load::kRotating, Load::kBurst};

TEST(Loads, EveryTokenHasDifferentExpertsAndAllRowsAreThere) {
  for (const ChoiceShape& shape :
       {ChoiceShape{.tokens = 64, .top_k = 2, .experts = 8, .total = 10, .of_first_rank = 8},
        ChoiceShape{.tokens = 37, .top_k = 3, .experts = 6, .total = 6, .of_first_rank = 3},
        ChoiceShape{.tokens = 5, .top_k = 1, .experts = 16, .total = 16, .of_first_rank = 4}}) {
    for (const parallel::Enum<Load> load : kForced) {
      for (const int64_t round : {0, 1, 3}) {
        SCOPED_TRACE(std::string(load.name()) + " round " + std::to_string(round));
        ChoiceShape whole = shape;
        whole.own_tokens = shape.tokens;
        const auto choices = *forced_choices(load, whole, round);
        const std::vector<int64_t> rows = rows_under(load, shape, round);
        std::vector<int64_t> counted(static_cast<size_t>(shape.total), 0), first(counted);
        for (int64_t t = 0; t < shape.tokens; ++t) {
          std::set<int64_t> own;
          for (int64_t k = 0; k < shape.top_k; ++k) {
            const int64_t expert = choices.chosen_TK[t][k].item<int64_t>();
            ASSERT_TRUE(0 <= expert && expert < shape.experts);
            own.insert(expert);
            ++counted[static_cast<size_t>(expert)];
            first[static_cast<size_t>(expert)] += k == 0 ? 1 : 0;
          }
          EXPECT_EQ(std::ssize(own), shape.top_k);
        }
        EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), int64_t{0}), shape.tokens * shape.top_k);
        for (size_t e = 0; e < rows.size(); ++e) EXPECT_EQ(counted[e], rows[e]);
        EXPECT_TRUE(at::equal(choices.global_choices_E, at::tensor(counted, at::kLong)));
        EXPECT_TRUE(at::equal(choices.global_first_E, at::tensor(first, at::kLong)));
        // Parts of it, as ranks have them, are the same choices.
        for (int64_t begin = 0; begin < shape.tokens; begin += 7) {
          ChoiceShape part = shape;
          part.first_token = begin;
          part.own_tokens = std::min<int64_t>(7, shape.tokens - begin);
          const auto own = *forced_choices(load, part, round);
          EXPECT_TRUE(at::equal(own.chosen_TK, choices.chosen_TK.narrow(0, begin, part.own_tokens)));
          EXPECT_TRUE(at::equal(own.global_choices_E, choices.global_choices_E));
        }
      }
    }
  }
}

TEST(Loads, AreWhatTheirNamesSay) {
  const ChoiceShape shape{.tokens = 800, .top_k = 2, .experts = 8, .total = 8, .of_first_rank = 8};
  using Rows = std::vector<int64_t>;
  EXPECT_EQ(rows_under(Load::kEven, shape, 0), Rows(8, 200));
  const Rows hot = rows_under(Load::kHot, shape, 5);
  EXPECT_EQ(hot[0], 800);
  EXPECT_NEAR(static_cast<double>(hot[7]), 800.0 / 7, 1);
  const Rows zipf = rows_under(Load::kZipf, shape, 0);
  EXPECT_NEAR(static_cast<double>(zipf[0]) / static_cast<double>(zipf[3]), 4, 0.1);
  const Rows of_rank = rows_under(Load::kHotRank, shape, 0);
  EXPECT_EQ(std::accumulate(of_rank.begin(), of_rank.begin() + 4, int64_t{0}), 1200);
  EXPECT_EQ(rows_under(Load::kHalfEmpty, shape, 0), (Rows{400, 400, 400, 400, 0, 0, 0, 0}));
  EXPECT_EQ(rows_under(Load::kRotating, shape, 10)[2], 800);
  EXPECT_EQ(rows_under(Load::kBurst, shape, 2), Rows(8, 200));
  EXPECT_EQ(rows_under(Load::kBurst, shape, 3), hot);
  // More than two choices: no expert can have half of all rows, for no token chooses it twice.
  const ChoiceShape fine{.tokens = 100, .top_k = 8, .experts = 64, .total = 64, .of_first_rank = 64};
  EXPECT_EQ(rows_under(Load::kHot, fine, 0)[0], 100);
  EXPECT_FALSE(forced_choices(Load::kOwn, shape, 0).has_value());
}

TEST(Loads, FewerExpertsThanChoicesAreRefused) {
  const ChoiceShape shape{.tokens = 8, .top_k = 3, .experts = 4, .total = 4, .of_first_rank = 4};
  EXPECT_THROW(rows_under(Load::kHalfEmpty, shape, 0), parallel::UserError);
  EXPECT_NO_THROW(rows_under(Load::kEven, shape, 0));
}

TEST(ProductLimit, ListsWhatLibTorchIsAskedFor) {
  const at::Tensor a = at::ones({6, 4}), b = at::ones({4, 10}), c = at::ones({3, 6, 4}), d = at::ones({3, 4, 5});
  moetrain::use_products({.otherwise = {moetrain::ProductLibrary::kLibTorch, true}});
  const ProductList products = recorded_products([&] {
    EXPECT_EQ(moetrain::products_in_use().otherwise, moetrain::ProductWay{});
    at::mm(a, b);
    at::mm(a, b);
    at::Tensor out = at::empty({10, 6});
    at::mm_out(out, b.t(), a.t());
    at::linear(a, b.t().contiguous(), at::ones({10}));
    at::bmm(c, d);
    a + a;
  });
  EXPECT_TRUE(moetrain::products_in_use().otherwise.spread);
  moetrain::use_products({});
  EXPECT_EQ(flops(products), 2.0 * (4 * 6 * 4 * 10 + 3 * 6 * 4 * 5));
  EXPECT_EQ(products.at({.m = 6, .k = 4, .n = 10}), 2);
  EXPECT_EQ(products.at({.m = 10, .k = 4, .n = 6, .left_transposed = true, .right_transposed = true}), 1);
  EXPECT_EQ(products.at({.batch = 3, .m = 6, .k = 4, .n = 5}), 1);
  const ProductLimit limit(products);
  EXPECT_GT(limit.run().wall, 0);
  double shares = 0;
  const nlohmann::ordered_json ways = limit.ways();
  for (const auto& [way, share] : ways.items()) shares += share.get<double>();
  EXPECT_NEAR(shares, 1, 1e-12);
}

TEST(ProductLimit, CountsAnAttentionByItsProducts) {
  const at::Tensor q = at::randn({2, 3, 32, 8}).requires_grad_(), k = at::randn({2, 3, 32, 8}),
                   v = at::randn({2, 3, 32, 8}), narrow_v = at::randn({2, 3, 32, 4});
  const double square = 2.0 * 6 * 32 * 32 * 8;
  for (const bool causal : {false, true}) {
    const auto count = [&](const std::function<at::Tensor()>& attend) {
      at::Tensor out;
      const double forward = flops(recorded_products([&] { out = attend(); }));
      return std::pair(forward, flops(recorded_products([&] { out.sum().backward(); })));
    };
    const double part = causal ? 0.5 * square : square;
    EXPECT_EQ(count([&] { return at::scaled_dot_product_attention(q, k, v, std::nullopt, 0.0, causal); }),
              std::pair(2 * part, 5 * part));
    const auto ours = [&](const at::Tensor& value) {
      return count([&] {
        return moetrain::AttentionProduct{.scale = 1}.of(q, k, value, {.seen = std::nullopt, .causal = causal});
      });
    };
    EXPECT_EQ(ours(v), std::pair(2 * part, 5 * part));
    EXPECT_EQ(ours(narrow_v), std::pair(1.5 * part, 4 * part));
  }
}

TEST(ProductLimit, AnErrorEndsTheRecording) {
  const at::Tensor a = at::ones({4, 4});
  const auto broken = [&] { recorded_products([&] { throw std::runtime_error("stop"); }); };
  EXPECT_THROW(broken(), std::runtime_error);
  at::mm(a, a);
  EXPECT_EQ(flops(recorded_products([&] { at::mm(a, a); })), 2.0 * 4 * 4 * 4);
}

moetrain::ProductRule some_rule() {
  using moetrain::ProductKind;
  return {.otherwise = {},
          .entries = {{{ProductKind::kForward, 8, 16, 100}, {moetrain::ProductLibrary::kOpenBlas, true}},
                      {{ProductKind::kWeightGradient, 16, 8, 3}, {}}}};
}

TEST(ProductFile, ComesBackAsItWent) {
  const nlohmann::json text = nlohmann::json::parse(products_to_json({"a machine", some_rule()}).dump());
  const StoredProducts back = products_from_json(text, "here");
  EXPECT_EQ(back.machine, "a machine");
  ASSERT_EQ(back.rule.entries.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back.rule.entries[i].shape, some_rule().entries[i].shape);
    EXPECT_EQ(back.rule.entries[i].way, some_rule().entries[i].way);
  }
}

TEST(ProductFile, WhatIsNoneIsRefusedByItsPlace) {
  const auto refused = [](const char* text, const char* word) {
    try {
      products_from_json(nlohmann::json::parse(text), "products.json");
      ADD_FAILURE() << text;
    } catch (const parallel::UserError& error) {
      EXPECT_NE(std::string(error.what()).find("products.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refused("[]", "object");
  refused(R"({"machine": 3})", "machine");
  refused(R"({"products": 3})", "products");
  refused(R"({"products": [{"kind": "sideways"}]})", "sideways");
  refused(R"({"products": [{"rows": 0}]})", "rows");
  refused(R"({"products": [{"library": "atlas"}]})", "atlas");
  refused(R"({"products": [{"spread": "yes"}]})", "spread");
  refused(R"({"prodcts": []})", "prodcts");
}

}  // namespace
}  // namespace launch
