#include "launch/bench/loads.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// `rows` shared out by weight, no expert more than `most`: what is cut off goes to the others by theirs. The last are
/// given out one by one from the first on.
std::vector<int64_t> shared_out(int64_t rows, const std::vector<double>& weight, int64_t most) {
  std::vector<int64_t> count(weight.size(), 0);
  for (int64_t left = rows; left > 0;) {
    double open = 0;
    for (size_t e = 0; e < weight.size(); ++e) open += count[e] < most ? weight[e] : 0;
    parallel::check_internal(open > 0, "a load with more rows than its experts may have");
    const int64_t before = left;
    for (size_t e = 0; e < weight.size(); ++e) {
      if (count[e] >= most) continue;
      const auto share = static_cast<int64_t>(static_cast<double>(before) * weight[e] / open);
      const int64_t given = std::min({share, most - count[e], left});
      count[e] += given;
      left -= given;
    }
    if (left < before) continue;
    for (size_t e = 0; e < weight.size() && left > 0; ++e) {
      if (weight[e] > 0 && count[e] < most) ++count[e], --left;
    }
  }
  return count;
}

std::vector<double> hot_weights(const ChoiceShape& shape, int64_t hot) {
  const double others = static_cast<double>(shape.experts - 1);
  std::vector<double> weight(static_cast<size_t>(shape.experts), 0.5 / std::max(1.0, others));
  weight[static_cast<size_t>(hot)] = shape.experts > 1 ? 0.5 : 1;
  return weight;
}

std::vector<double> weights_under(parallel::Enum<Load> load, const ChoiceShape& shape, int64_t round) {
  const auto experts = static_cast<size_t>(shape.experts);
  std::vector<double> weight(experts, 1);
  switch (load) {
    case Load::kOwn:
    case Load::kEven:
      break;
    case Load::kHot:
      return hot_weights(shape, 0);
    case Load::kZipf:
      for (size_t e = 0; e < experts; ++e) weight[e] = 1.0 / static_cast<double>(e + 1);
      break;
    case Load::kHotRank: {
      const int64_t hot =
          shape.of_first_rank < shape.experts ? shape.of_first_rank : std::max<int64_t>(1, shape.experts / 2);
      const auto others = static_cast<double>(shape.experts - hot);
      for (int64_t e = 0; e < shape.experts; ++e)
        weight[static_cast<size_t>(e)] = e < hot ? 0.75 / static_cast<double>(hot) : 0.25 / others;
      break;
    }
    case Load::kHalfEmpty:
      std::fill(weight.begin() + static_cast<std::ptrdiff_t>((experts + 1) / 2), weight.end(), 0.0);
      break;
    case Load::kRotating:
      return hot_weights(shape, round % shape.experts);
    case Load::kBurst:
      return is_burst(round) ? hot_weights(shape, 0) : weight;
  }
  return weight;
}

}  // namespace

std::vector<int64_t> rows_under(parallel::Enum<Load> load, const ChoiceShape& shape, int64_t round) {
  const std::vector<double> weight = weights_under(load, shape, round);
  const auto open = std::ranges::count_if(weight, [](double each) { return each > 0; });
  if (open < shape.top_k) {
    parallel::user_error("load ", load, " has ", open, " of ", shape.experts,
                         " experts to choose among, and moe.top_k is ", shape.top_k, "; legal: a top_k of at most ",
                         open, ", or another load");
  }
  return shared_out(shape.tokens * shape.top_k, weight, shape.tokens);
}

std::optional<moetrain::RoutingChoices> forced_choices(parallel::Enum<Load> load, const ChoiceShape& shape,
                                                       int64_t round) {
  if (load == Load::kOwn) return std::nullopt;
  const std::vector<int64_t> rows = rows_under(load, shape, round);
  // Slots lie by expert, and slot i is a choice of token i mod T: an expert has at most T slots in a row, so that no
  // token meets it twice.
  moetrain::RoutingChoices choices;
  choices.chosen_TK = at::empty({shape.own_tokens, shape.top_k}, at::kLong);
  int64_t* const chosen = choices.chosen_TK.mutable_data_ptr<int64_t>();
  choices.global_choices_E = at::zeros({shape.total}, at::kLong);
  choices.global_first_E = at::zeros({shape.total}, at::kLong);
  int64_t* const of_expert = choices.global_choices_E.mutable_data_ptr<int64_t>();
  int64_t* const first = choices.global_first_E.mutable_data_ptr<int64_t>();
  int64_t slot = 0;
  for (int64_t e = 0; e < shape.experts; ++e) {
    of_expert[e] = rows[static_cast<size_t>(e)];
    for (const int64_t end = slot + of_expert[e]; slot < end; ++slot) {
      const int64_t token = slot % shape.tokens - shape.first_token, choice = slot / shape.tokens;
      first[e] += choice == 0 ? 1 : 0;
      if (token >= 0 && token < shape.own_tokens) chosen[token * shape.top_k + choice] = e;
    }
  }
  choices.expert_TK = choices.chosen_TK;
  return choices;
}

}  // namespace launch
