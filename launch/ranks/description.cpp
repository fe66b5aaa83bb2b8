#include "launch/ranks/description.h"

#include "moetrain/config/expert_kinds.h"
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

std::string describe_experts(const moetrain::MoeConfig& moe) {
  if (moe.layers == "none") return "dense";
  const std::string kinds = moe.expert == "feed_forward" ? "" : concat(" (", moe.expert, ")");
  const std::string rows = moe.rows == moetrain::Rows::kTokens ? "" : " for whole sequences";
  const std::string shared = moe.shared_hidden > 0 ? concat(", shared expert of ", moe.shared_hidden) : "";
  return concat("experts in blocks \"", moe.layers, "\": ", expert_numbers(moe), " of width ", moe.hidden, kinds,
                other_kinds(moe), ", ", moe.router, rows, ", top ", moe.top_k, shared);
}

std::string what_it_reads(const Recipe& recipe, int64_t vocabulary) {
  const std::optional<moetrain::PatchGrid> images = recipe.documents().images;
  if (!images) return concat("vocabulary ", vocabulary);
  return concat("images of ", images->height, " x ", images->width, " in patches of ", images->patch);
}

}  // namespace

std::string describe(const Recipe& recipe, int64_t vocabulary) {
  const auto& [model, moe] = std::pair(recipe.model, recipe.moe);
  const std::string encoder = model.encoder_layers > 0 ? concat(model.encoder_layers, " encoder and ") : "";
  return concat(encoder, model.layers, encoder.empty() ? " blocks" : " decoder blocks", ", width ", model.width, ", ",
                model.heads, " heads (", model.kv_heads, " key/value), ", what_it_reads(recipe, vocabulary), "; ",
                describe_experts(moe), "; ", recipe.run.precision);
}

}  // namespace launch
