#include "moetrain/config/expert_kinds.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace moetrain {

const std::array<ExpertKind, 5>& expert_kind_table() {
  static constexpr std::array<ExpertKind, 5> kTable{{{"ffn", &ExpertKinds::ffn},
                                                     {"constant", &ExpertKinds::constant},
                                                     {"copy", &ExpertKinds::copy},
                                                     {"zero", &ExpertKinds::zero},
                                                     {"null", &ExpertKinds::null}}};
  return kTable;
}

int64_t ExpertKinds::total() const {
  int64_t sum = 0;
  for (const ExpertKind& kind : expert_kind_table()) sum += this->*kind.count;
  return sum;
}

ExpertKinds expert_kinds(const MoeConfig& config) {
  parallel::check_internal(config.experts_by_layer.empty(), "expert_kinds: this config is not that of one layer");
  return {.ffn = config.experts,
          .constant = config.constant_experts,
          .copy = config.copy_experts,
          .zero = config.zero_experts,
          .null = config.null_experts};
}

int64_t weight_sets(const MoeConfig& config) {
  const std::vector<int64_t>& set_E = config.expert_weights;
  if (set_E.empty()) return config.experts;
  if (std::ssize(set_E) != config.experts) {
    parallel::user_error(section_of(config), ".expert_weights has ", set_E.size(), " numbers, and a layer has ",
                         config.experts, " experts; legal: ", config.experts, " numbers, or none");
  }
  const int64_t sets = *std::ranges::max_element(set_E) + 1;
  for (int64_t set = 0; set < sets; ++set) {
    if (std::ranges::count(set_E, set) > 0) continue;
    parallel::user_error(section_of(config), ".expert_weights names set ", sets - 1, ", and no expert has set ", set,
                         "; legal: sets numbered from 0 without gaps");
  }
  return sets;
}

const char* weight_sets_word(const MoeConfig& config) {
  return config.expert_weights.empty() ? "experts" : "sets of weights (moe.expert_weights)";
}

int64_t first_of_kind(const ExpertKinds& kinds, int64_t ExpertKinds::*count) {
  int64_t first = 0;
  for (const ExpertKind& kind : expert_kind_table()) {
    if (kind.count == count) break;
    first += kinds.*kind.count;
  }
  return first;
}

}  // namespace moetrain
