#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "moetrain/experts/expert.h"
#include "moetrain/experts/head_experts.h"
#include "moetrain/products/expert_turns.h"

namespace moetrain {

// Kinds of experts, each in a file of its own.
ExpertPreset feed_forward_expert();
ExpertPreset clamped_swiglu_expert();
ExpertPreset gru_expert();

parallel::NameTable<ExpertPreset> builtin_experts() {
  return {"expert",
          {{"feed_forward", feed_forward_expert()},
           {"gru", gru_expert()},
           {"clamped_swiglu", clamped_swiglu_expert()},
           {"heads", heads_expert()}}};
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

/// One of "gru:1,feed_forward(128):3": a kind, what stands in its brackets and what behind its colon, if anything.
struct MixItem {
  std::string kind;
  std::optional<std::string> width, number;
};

std::vector<MixItem> items_of(const std::string& expert) {
  std::vector<MixItem> items;
  for (size_t begin = 0; begin <= expert.size();) {
    const size_t end = std::min(expert.find(',', begin), expert.size());
    MixItem item{.kind = expert.substr(begin, end - begin)};
    if (const size_t colon = item.kind.find(':'); colon != std::string::npos) {
      item.number = item.kind.substr(colon + 1);
      item.kind.resize(colon);
    }
    if (const size_t open = item.kind.find('('); open != std::string::npos && item.kind.ends_with(')')) {
      item.width = item.kind.substr(open + 1, item.kind.size() - open - 2);
      item.kind.resize(open);
    }
    items.push_back(std::move(item));
    begin = end + 1;
  }
  return items;
}

[[noreturn]] void refuse(const MoeConfig& config, const std::string& reason) {
  parallel::user_error("moe.expert = \"", config.expert, "\": ", reason,
                       "; legal: one kind for all experts, or several with their numbers, such as "
                       "\"gru:1,feed_forward:3\", a width of their own in brackets, \"feed_forward(128):3\"");
}

/// "no number of experts" or what else `what` says it should be.
int64_t number_of(const MoeConfig& config, const std::string& text, const char* what) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1) {
    refuse(config, parallel::concat("'", text, "' is no ", what));
  }
  return number;
}

/// Weights of the same name, as `other` has too, would be one parameter.
void check_names(const MoeConfig& config, const ExpertRange& range, const ExpertRange& other) {
  if (range.suffix != other.suffix) return;
  for (const ExpertWeight& weight : range.preset->weights({.width = 1, .hidden = 1}, config)) {
    for (const ExpertWeight& same : other.preset->weights({.width = 1, .hidden = 1}, config)) {
      if (weight.name != same.name) continue;
      refuse(config, parallel::concat("'", other.kind, "' and '", range.kind, "' both have weights '", weight.name,
                                      "', which only a width in brackets tells apart"));
    }
  }
}

}  // namespace

std::vector<ExpertRange> expert_ranges(const MoeConfig& config, const parallel::NameTable<ExpertPreset>& table) {
  const auto items = items_of(config.expert);
  const int64_t sets = weight_sets(config);
  std::vector<ExpertRange> ranges;
  int64_t first = 0;
  for (const auto& [kind, width, number] : items) {
    if (std::ranges::count(table.names(), kind) == 0) {
      refuse(config, parallel::concat("unknown kind '", kind, "'; known: ", parallel::list_names(table.names())));
    }
    const bool alone = items.size() == 1 && !number;
    ExpertRange range{.kind = kind,
                      .preset = &table.at(kind),
                      .first = first,
                      .hidden = config.hidden,
                      .section = section_of(config)};
    if (width) range.hidden = number_of(config, *width, "hidden width"), range.suffix = "_" + *width;
    range.count = alone ? sets : number_of(config, number.value_or(""), "number of experts");
    for (const ExpertRange& before : ranges) {
      if (before.kind == kind && before.suffix == range.suffix) {
        refuse(config, parallel::concat("'", kind, "' ", width ? "of width " + *width + " " : "", "is named twice"));
      }
      check_names(config, range, before);
    }
    first += range.count;
    ranges.push_back(std::move(range));
  }
  if (first != sets) {
    refuse(config, parallel::concat("these are ", first, " experts, and ",
                                    config.expert_weights.empty() ? "moe.experts is " : "moe.expert_weights has ", sets,
                                    config.expert_weights.empty() ? "" : " sets of weights"));
  }
  return ranges;
}

bool names_kind(const std::string& expert, const std::string& kind) {
  return std::ranges::any_of(items_of(expert), [&](const MixItem& item) { return item.kind == kind; });
}

ExpertShape part_of(const ExpertRange& range, ExpertShape shape, int64_t parts) {
  if (range.hidden % parts != 0) {
    const int64_t below = range.hidden / parts * parts;
    const std::string key = range.suffix.empty()
                                ? parallel::concat(range.section, ".hidden = ", range.hidden)
                                : parallel::concat("the ", range.hidden, " of ", range.section, ".expert");
    parallel::user_error("mesh.expert_tensor = ", parts, " does not divide ", key, "; legal: a hidden width such as ",
                         below > 0 ? parallel::concat(below, " or ") : "", below + parts);
  }
  shape.hidden = range.hidden / parts;
  return shape;
}

int64_t GatheredCosts::in_forward(const GatheredLoad& load) const {
  return std::min(load.threads * std::min(load.busiest, kRowsOfBlock), load.rows) * (load.width + hidden);
}

int64_t GatheredCosts::in_backward(const GatheredLoad& load) const {
  const int64_t blocks = std::min(load.threads * std::min(load.busiest, kRowsOfBlock), load.rows);
  if (load.threads == 1) return load.busiest * (2 * load.width + hidden) + blocks * hidden;
  // Threads that cannot have whole experts leave the hidden units of all rows, and then gather an expert's, or those of
  // neighbours, at once.
  const int64_t at_once = std::max(load.busiest, std::min(kRowsOfBlock, load.rows));
  const int64_t shared = load.rows * hidden + std::max(blocks * (load.width + hidden), 2 * at_once * load.width);
  const auto most = static_cast<int64_t>(kMostOfEven * static_cast<double>(load.rows));
  const int64_t whole = std::min(load.threads * load.busiest, most);
  return std::max(shared, whole * (2 * load.width + hidden) + blocks * hidden);
}

ExpertCosts expert_costs(const std::vector<ExpertRange>& ranges, const ExpertSpan& span, const ExpertShape& shape,
                         int64_t parts, const MoeConfig& config) {
  if (ranges.size() == 1) return costs_of(*ranges.front().preset, part_of(ranges.front(), shape, parts), config);
  double experts = 0, parameters = 0, matrices = 0;
  struct Places {
    int64_t kept = 0, in_backward = 0, kept_gathered = 0;
  };
  std::map<std::string, Places> places;  // of what shares them (ExpertMix)
  ExpertCosts mean{.gathered = GatheredCosts()};
  for (const ExpertRange& range : ranges) {
    const ExpertCosts costs = costs_of(*range.preset, part_of(range, shape, parts), config);
    const int64_t begin = std::max(range.first, span.first);
    const int64_t end = std::min(range.first + range.count, span.first + span.count);
    const auto count = static_cast<double>(std::max<int64_t>(0, end - begin));
    experts += count;
    parameters += count * static_cast<double>(costs.parameters);
    matrices += count * static_cast<double>(costs.matrices);
    Places& shared = places[config.rows == Rows::kTokens ? range.kind : range.kind + range.suffix];
    shared.kept = std::max(shared.kept, costs.kept);
    shared.in_backward = std::max(shared.in_backward, costs.in_backward);
    if (!costs.gathered) mean.gathered.reset();
    if (mean.gathered) {
      shared.kept_gathered = std::max(shared.kept_gathered, costs.gathered->kept);
      mean.gathered->hidden = std::max(mean.gathered->hidden, costs.gathered->hidden);
    }
    mean.in_forward = std::max(mean.in_forward, costs.in_forward);
    mean.multiply_adds += count * costs.multiply_adds;
    mean.made_again += count * costs.made_again;
  }
  experts = std::max(experts, 1.0);  // of a span of none
  mean.parameters = std::llround(parameters / experts);
  mean.matrices = std::llround(matrices / experts);
  for (const auto& [kind, shared] : places) {
    mean.kept += shared.kept, mean.in_backward += shared.in_backward;
    if (mean.gathered) mean.gathered->kept += shared.kept_gathered;
  }
  mean.multiply_adds /= experts;
  mean.made_again /= experts;
  return mean;
}

}  // namespace moetrain
