#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "moetrain/experts/expert.h"

namespace moetrain {

// Kinds of experts, each in a file of its own.
ExpertPreset feed_forward_expert();
ExpertPreset clamped_swiglu_expert();
ExpertPreset gru_expert();

parallel::NameTable<ExpertPreset> builtin_experts() {
  return {
      "expert",
      {{"feed_forward", feed_forward_expert()}, {"gru", gru_expert()}, {"clamped_swiglu", clamped_swiglu_expert()}}};
}

namespace {

int64_t elements(const ExpertWeight& weight) {
  return std::accumulate(weight.dims.begin(), weight.dims.end(), int64_t{1}, std::multiplies<>());
}

/// AutogradCompute keeps no row's numbers, and runs forward once more for the rows' gradients and once for the
/// weights'.
ExpertCosts costs_by_autograd(const std::vector<ExpertWeight>& weights) {
  ExpertCosts costs;
  for (const ExpertWeight& weight : weights) {
    if (weight.dims.size() < 2) continue;
    ++costs.matrices;
    costs.multiply_adds += static_cast<double>(elements(weight));
    costs.in_backward += weight.dims.back();  // a result of each multiplication, before its activation
  }
  costs.made_again = 2 * costs.multiply_adds;
  costs.in_backward *= 3;  // that result, what is made of it, and a gradient
  return costs;
}

ExpertCosts costs_of(const ExpertPreset& preset, const ExpertShape& part, const MoeConfig& config) {
  const std::vector<ExpertWeight> weights = preset.weights(part, config);
  ExpertCosts costs = preset.costs != nullptr ? preset.costs(part, config) : costs_by_autograd(weights);
  costs.parameters = 0;
  for (const ExpertWeight& weight : weights) costs.parameters += elements(weight);
  return costs;
}

/// The items of "gru:1,feed_forward:3", each a name and what stands behind its colon, if anything.
std::vector<std::pair<std::string, std::string>> items_of(const std::string& expert) {
  std::vector<std::pair<std::string, std::string>> items;
  for (size_t begin = 0; begin <= expert.size();) {
    const size_t end = std::min(expert.find(',', begin), expert.size());
    const std::string item = expert.substr(begin, end - begin);
    const size_t colon = item.find(':');
    items.emplace_back(item.substr(0, colon), colon == std::string::npos ? "" : item.substr(colon + 1));
    begin = end + 1;
  }
  return items;
}

[[noreturn]] void refuse(const MoeConfig& config, const std::string& reason) {
  parallel::user_error("moe.expert = \"", config.expert, "\": ", reason,
                       "; legal: one kind for all experts, or several with their numbers, such as "
                       "\"gru:1,feed_forward:3\"");
}

int64_t number_of(const MoeConfig& config, const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1) {
    refuse(config, parallel::concat("'", text, "' is no number of experts"));
  }
  return number;
}

}  // namespace

std::vector<ExpertRange> expert_ranges(const MoeConfig& config, const parallel::NameTable<ExpertPreset>& table) {
  const auto items = items_of(config.expert);
  std::vector<ExpertRange> ranges;
  int64_t first = 0;
  for (const auto& [kind, number] : items) {
    if (std::ranges::count(table.names(), kind) == 0) {
      refuse(config, parallel::concat("unknown kind '", kind, "'; known: ", parallel::list_names(table.names())));
    }
    if (std::ranges::count(ranges, kind, &ExpertRange::kind) > 0) {
      refuse(config, parallel::concat("'", kind, "' is named twice"));
    }
    const bool alone = items.size() == 1 && number.empty();
    const int64_t count = alone ? config.experts : number_of(config, number);
    ranges.push_back({kind, &table.at(kind), first, count});
    first += count;
  }
  if (first != config.experts) {
    refuse(config, parallel::concat("these are ", first, " experts, and moe.experts is ", config.experts));
  }
  return ranges;
}

bool names_kind(const std::string& expert, const std::string& kind) {
  return std::ranges::any_of(items_of(expert), [&](const auto& item) { return item.first == kind; });
}

ExpertCosts expert_costs(const std::vector<ExpertRange>& ranges, const ExpertShape& part, const MoeConfig& config) {
  if (ranges.size() == 1) return costs_of(*ranges.front().preset, part, config);
  double experts = 0, parameters = 0, matrices = 0, kept = 0, in_backward = 0;
  ExpertCosts mean;
  for (const ExpertRange& range : ranges) {
    const ExpertCosts costs = costs_of(*range.preset, part, config);
    const auto count = static_cast<double>(range.count);
    experts += count;
    parameters += count * static_cast<double>(costs.parameters);
    matrices += count * static_cast<double>(costs.matrices);
    kept += static_cast<double>(costs.kept);  // of every row for every kind (ExpertMix)
    in_backward += static_cast<double>(costs.in_backward);
    mean.multiply_adds += count * costs.multiply_adds;
    mean.made_again += count * costs.made_again;
  }
  mean.parameters = std::llround(parameters / experts);
  mean.matrices = std::llround(matrices / experts);
  mean.kept = std::llround(kept);
  mean.in_backward = std::llround(in_backward);
  mean.multiply_adds /= experts;
  mean.made_again /= experts;
  return mean;
}

}  // namespace moetrain
