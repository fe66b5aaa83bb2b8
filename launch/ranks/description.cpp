#include "launch/ranks/description.h"

#include <algorithm>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::concat;

/// "8", or of a pyramid "4, 8".
std::string expert_numbers(const moetrain::MoeConfig& moe) {
  if (moe.experts_by_layer.empty()) return std::to_string(moe.experts);
  std::string numbers;
  for (const int64_t experts : moe.experts_by_layer) numbers += (numbers.empty() ? "" : ", ") + std::to_string(experts);
  return numbers;
}

std::string other_kinds(moetrain::MoeConfig moe) {
  moe.experts_by_layer.clear();  // the other kinds are the same in every block
  const moetrain::ExpertKinds kinds = moetrain::expert_kinds(moe);
  std::string text;
  for (const moetrain::ExpertKind& kind : moetrain::expert_kind_table()) {
    if (kind.count == &moetrain::ExpertKinds::ffn || kinds.*kind.count == 0) continue;
    text += concat(" + ", kinds.*kind.count, " ", kind.name);
  }
  return text;
}

/// What a layer of this kind is.
std::string describe_layer(const moetrain::MoeConfig& moe) {
  const std::string kinds = moe.expert == "feed_forward" ? "" : concat(" (", moe.expert, ")");
  const std::string rows = moe.rows == moetrain::Rows::kTokens ? "" : " for whole sequences";
  const std::string shared = moe.shared_hidden > 0 ? concat(", shared expert of ", moe.shared_hidden) : "";
  const std::string width = moe.expert.find('(') == moe.expert.npos ? concat(" of width ", moe.hidden) : "";
  return concat(expert_numbers(moe), width, kinds, other_kinds(moe), ", ", moe.router, rows, ", top ", moe.top_k,
                shared);
}

std::string describe_experts(const Recipe& recipe) {
  const moetrain::MoeConfig& moe = recipe.moe;
  if (moe.placement.empty()) {
    if (moe.layers == "none") return "dense";
    return concat("experts in blocks \"", moe.layers, "\": ", describe_layer(moe));
  }
  std::string text = concat("experts in blocks \"", moe.placement, "\"");
  const auto layers = moetrain::all_layer_configs(moe, moetrain::total_blocks(recipe.model));
  if (std::ranges::any_of(layers, [](const auto& layer) { return layer.name.empty(); })) {
    text += concat(", moe: ", describe_layer(moe));
  }
  for (const moetrain::MoeConfig& layer : moe.named) text += concat(", ", layer.name, ": ", describe_layer(layer));
  return text;
}

std::string what_it_reads(const Recipe& recipe, int64_t vocabulary) {
  const std::optional<moetrain::PatchGrid> images = recipe.documents().images;
  if (!images) return concat("vocabulary ", vocabulary);
  return concat("images of ", images->height, " x ", images->width, " in patches of ", images->patch);
}

}  // namespace

std::string describe(const Recipe& recipe, int64_t vocabulary) {
  const moetrain::ModelConfig& model = recipe.model;
  const std::string encoder = model.encoder_layers > 0 ? concat(model.encoder_layers, " encoder and ") : "";
  return concat(encoder, model.layers, encoder.empty() ? " blocks" : " decoder blocks", ", width ", model.width, ", ",
                model.heads, " heads (", model.kv_heads, " key/value), ", what_it_reads(recipe, vocabulary), "; ",
                describe_experts(recipe), "; ", recipe.run.precision);
}

}  // namespace launch
