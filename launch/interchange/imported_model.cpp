#include "launch/interchange/imported_model.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "launch/interchange/tensors/tensor_copy.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/printable.h"

namespace launch::interchange {
namespace {

/// The place of a type among those of weights, the narrowest first; -1 for what holds no weights.
int64_t width_order(const std::string& dtype) {
  const std::vector<std::string> by_width = {"F16", "BF16", "F32", "F64"};
  const auto found = std::ranges::find(by_width, dtype);
  return found == by_width.end() ? -1 : found - by_width.begin();
}

/// Tables that older versions wrote beside the weights, made anew from the config.
bool is_made_anew(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

}  // namespace

ImportedModel::ImportedModel(const std::filesystem::path& folder, const std::vector<std::string>& ignored_keys)
    : folder_(folder), config_text_(read_small_file(folder / "config.json", kLargestSmallFile)), tensors_(folder) {
  const std::string place = (folder / "config.json").string();
  const Json config = parse_json_object(config_text_, place);
  family_ = &family_named(config, place);
  shape_ = shape_from(*family_, config, place, ignored_keys);
  blocks_.emplace(tensors_, config, place);
  const std::vector<std::string> names = tensors_.names();
  bare_ = std::ranges::none_of(names, [](const std::string& name) { return name.starts_with("model."); });
  const bool fused =
      std::ranges::any_of(names, [](const std::string& name) { return name.ends_with(".mlp.experts.gate_up_proj"); });
  // A tensor of the folder is made of two parameters at most.
  const size_t most = 2 * names.size() + 64;
  TensorRules rules(fused ? ExpertsStored::kTogether : ExpertsStored::kOneByOne, most);
  try {
    family_->tensors(rules, shape_);
  } catch (const parallel::UserError& error) {
    parallel::user_error(folder.string(), ": ", error.what());
  }
  rules_ = rules.take();
  by_target_ = rules_by_target(rules_);
  by_source_ = rules_by_source(rules_);
  check_tensors();
  if (const auto name = spare()) {
    std::vector<std::string> known;
    for (const auto& [target, of] : by_target_) known.push_back(stored(target));
    const std::string nearest = parallel::nearest_name(*name, known);
    parallel::user_error(folder.string(), ": tensor '", parallel::printable(*name), "' ",
                         shape_text(tensors_.view(*name).shape),
                         " is spare: a model of its config.json has none of that name",
                         nearest.empty() ? "" : "; the nearest is '" + nearest + "'");
  }
  std::set<std::string> listed;
  for (const TensorRule& rule : rules_) {
    if (rule.source.empty() || !listed.insert(rule.source).second) continue;
    Parameter parameter{rule.source, rule.source_shape, described(rule.target).dtype, rule.buffer};
    for (const TensorRule* each : by_source_.at(rule.source)) {
      const std::string dtype = described(each->target).dtype;
      if (width_order(dtype) > width_order(parameter.dtype)) parameter.dtype = dtype;
    }
    parameters_.push_back(std::move(parameter));
  }
}

std::string ImportedModel::stored(const std::string& target) const {
  const std::string prefix = "model.";
  return bare_ && target.starts_with(prefix) ? target.substr(prefix.size()) : target;
}

TensorView ImportedModel::described(const std::string& target) const {
  const std::string name = stored(target);
  if (!blocks_->holds(name)) return tensors_.view(name);
  return {.dtype = "BF16", .shape = blocks_->shape(name), .data = nullptr};
}

TensorView ImportedModel::view(const std::string& target) const {
  const std::string name = stored(target);
  if (!blocks_->holds(name)) return tensors_.view(name);
  if (decoded_.name != name) decoded_ = blocks_->decoded(name);
  return decoded_.view();
}

void ImportedModel::check_tensors() const {
  for (const auto& [target, rules] : by_target_) {
    const std::vector<int64_t>& shape = rules.front()->target_shape;
    const std::string name = stored(target);
    const bool there_is = tensors_.holds(name) || blocks_->holds(name);
    if (!there_is && rules.front()->again == Again::kAccepted) continue;
    if (!there_is) {
      const auto other = spare();
      parallel::user_error(folder_.string(), ": tensor '", name, "' is missing: a model of its config.json has it, ",
                           shape_text(shape),
                           other ? "; spare there is '" + parallel::printable(*other) + "'" : std::string());
    }
    const TensorView there = described(target);
    if (there.shape != shape) {
      parallel::user_error(folder_.string(), ": tensor '", name, "' has shape ", shape_text(there.shape),
                           "; its config.json makes it ", shape_text(shape));
    }
    if (width_order(there.dtype) < 0) {
      parallel::user_error(folder_.string(), ": tensor '", name, "' is of type ", there.dtype,
                           "; legal for weights: F64, F32, F16, BF16");
    }
    if (rules.front()->again != Again::kNo) check_again(*rules.front());
  }
}

std::optional<std::string> ImportedModel::spare() const {
  std::set<std::string> wanted;
  for (const auto& [target, rules] : by_target_) wanted.insert(stored(target));
  for (const std::string& name : tensors_.names()) {
    const std::optional<std::string> whole = blocks_->whole_of(name);
    if (wanted.contains(name) || (whole && wanted.contains(*whole)) || is_made_anew(name)) continue;
    if (family_->ignores != nullptr && family_->ignores(bare_ ? "model." + name : name, shape_)) continue;
    return name;
  }
  return std::nullopt;
}

void ImportedModel::check_again(const TensorRule& rule) const {
  const std::string name = stored(rule.target), first = stored(by_source_.at(rule.source).front()->target);
  if (!tensors_.holds(first)) return;  // is missing, as its own rule says
  const TensorView again = tensors_.view(name), table = tensors_.view(first);
  const auto bytes = static_cast<size_t>(element_count(table.shape) * element_bytes(table.dtype));
  const bool same = again.dtype == table.dtype && again.shape == table.shape;
  if (same && std::memcmp(again.data, table.data, bytes) == 0) return;
  parallel::user_error(folder_.string(), ": '", name, "' differs from '", first, "', but this model has one for both",
                       rule.again == Again::kAccepted ? ": config.json says tie_word_embeddings = true" : "");
}

void ImportedModel::read(const std::string& parameter, const parallel::ElementRange& elements, const std::string& dtype,
                         void* out) const {
  const int64_t end = elements.begin + elements.count;
  const std::vector<const TensorRule*>& rules = by_source_.at(parameter);
  const auto ends_before = [&](const TensorRule* rule) {
    return rule->source_offset + rule->elements() <= elements.begin;
  };
  for (auto at = std::ranges::partition_point(rules, ends_before); at != rules.end(); ++at) {
    const TensorRule* rule = *at;
    if (rule->source_offset >= end) break;
    const int64_t first = rule->source_offset, last = first + rule->elements();
    const int64_t begin = std::max(first, elements.begin), stop = std::min(last, end);
    if (begin >= stop) continue;
    auto* here = static_cast<std::byte*>(out) + (begin - elements.begin) * element_bytes(dtype);
    read_block(*rule, view(rule->target), {begin - first, stop - begin}, dtype, here);
  }
}

}  // namespace launch::interchange
