// defines: Linear, Bias, AdapterDraws: y = x W^T, plus a bias and an adapter where it has them
#pragma once
#include <torch/nn/module.h>

#include <optional>
#include <string>

#include "moetrain/layers/batch_scope.h"
#include "moetrain/layers/dropout.h"
#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// Which dimension of a weight the tensor group shares: neither, each rank some of the outputs (of the whole input), or
/// some of the inputs, so that its output is a summand.
enum class Spread { kNone, kOut, kIn };

/// Whether a Linear has one; zeros at first.
enum class Bias { kNone, kYes };

/// What an adapter's dropout is drawn by: none, and nothing drops.
struct AdapterDraws {
  std::optional<DrawKey> key = std::nullopt;
  int64_t first_row = 0;  // global index of the token of the layer's first row

  /// Of a layer that sees this rank's tokens, or all of its tensor group.
  static AdapterDraws of_own(const BatchScope& scope) { return at(scope, scope.first_token); }
  static AdapterDraws of_group(const BatchScope& scope) { return at(scope, scope.first_token - scope.parts.first()); }

 private:
  static AdapterDraws at(const BatchScope& scope, int64_t token) {
    AdapterDraws draws;
    if (scope.training) draws.key = scope.draws;
    draws.first_row = token;
    return draws;
  }
};

class Linear : public torch::nn::Module {
 public:
  /// weight: [out_dim, in_dim], or this rank's part of it, normal with `std`; bias: [out_dim], spread as the outputs.
  /// Of an adapter (Adapters) lora_a: [rank, in_dim], spread as the inputs; lora_b: [out_dim, rank], as the outputs.
  Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread = Spread::kNone,
         Bias bias = Bias::kNone);
  /// [..., in_dim] -> [..., out_dim], of this rank's weight. Where the output is a summand the bias is left out:
  /// whoever sums adds it, once.
  at::Tensor forward(const at::Tensor& input, const AdapterDraws& draws = {}) const;
  /// The same of outputs first .. first + count of this rank.
  at::Tensor forward(const at::Tensor& input, int64_t first, int64_t count, const AdapterDraws& draws = {}) const;
  /// [..., out_dim], what a Spread::kIn weight's summands add up to -> with the bias that forward left out
  at::Tensor with_bias(const at::Tensor& sum) const;

  at::Tensor weight, bias;    // bias: undefined where there is none
  at::Tensor lora_a, lora_b;  // likewise

 private:
  void add_adapter(const ParameterSource& source, int64_t in_dim, int64_t out_dim, Spread spread);

  bool summand_;
  // Of the adapter:
  double scale_ = 0, dropout_ = 0;
  std::string purpose_;  // of its draws
  Columns inputs_;       // that are here
};

}  // namespace moetrain
