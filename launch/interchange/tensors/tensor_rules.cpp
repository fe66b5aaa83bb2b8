#include "launch/interchange/tensors/tensor_rules.h"

#include <algorithm>

#include "launch/interchange/tensors/safetensors.h"
#include "parallel/base/fault.h"

namespace launch::interchange {

int64_t TensorRule::elements() const { return element_count(size); }

void TensorRules::copy(const std::string& target, const std::string& source, const std::vector<int64_t>& shape) {
  const int64_t elements = element_count(shape);
  add({.target = target,
       .target_shape = shape,
       .source = source,
       .source_shape = shape,
       .size = {elements},
       .target_strides = {1}});
}

void TensorRules::again(const std::string& target, const std::string& source, const std::vector<int64_t>& shape,
                        Again kind) {
  copy(target, source, shape);
  rules_.back().again = kind;
}

void TensorRules::transposed(const std::string& target, const std::string& source, const ExpertMatrix& matrix) {
  const auto& [experts, expert, rows, columns] = matrix;
  add({.target = target,
       .target_shape = {columns, rows},
       .source = source,
       .source_shape = {experts, rows, columns},
       .size = {rows, columns},
       .source_offset = expert * rows * columns,
       .target_strides = {1, rows}});
}

void TensorRules::add(TensorRule rule) {
  if (rules_.size() >= most_) {
    parallel::user_error("its config.json makes more than ", most_,
                         " tensors of layers and experts, far more than the folder holds");
  }
  rules_.push_back(std::move(rule));
}

void TensorRules::zeros(const std::string& target, const std::vector<int64_t>& shape) {
  add({.target = target,
       .target_shape = shape,
       .source = "",
       .source_shape = {},
       .size = {element_count(shape)},
       .target_strides = {1}});
}

RuleMap rules_by_target(const std::vector<TensorRule>& rules) {
  RuleMap all;
  for (const TensorRule& rule : rules) all[rule.target].push_back(&rule);
  for (const auto& [target, of] : all) {
    int64_t elements = 0;
    for (const TensorRule* rule : of) {
      elements += rule->elements();
      parallel::check_internal(rule->target_shape == of.front()->target_shape, "two shapes of '", target, "'");
    }
    parallel::check_internal(elements == element_count(of.front()->target_shape), "the rules of '", target, "' hold ",
                             elements, " elements of ", shape_text(of.front()->target_shape));
  }
  return all;
}

RuleMap rules_by_source(const std::vector<TensorRule>& rules) {
  RuleMap all;
  for (const TensorRule& rule : rules) {
    if (!rule.source.empty() && rule.again == Again::kNo) all[rule.source].push_back(&rule);
  }
  for (auto& [source, of] : all) {
    std::ranges::sort(of, {}, &TensorRule::source_offset);
    int64_t covered = 0;
    for (const TensorRule* rule : of) {
      parallel::check_internal(rule->source_offset == covered && rule->source_shape == of.front()->source_shape,
                               "the rules of '", source, "' overlap or leave a gap at element ", covered);
      covered += rule->elements();
    }
    parallel::check_internal(covered == element_count(of.front()->source_shape), "the rules of '", source, "' cover ",
                             covered, " elements of ", shape_text(of.front()->source_shape));
  }
  return all;
}

}  // namespace launch::interchange
