#include "moetrain/moe/expert_blocks.h"

#include <algorithm>
#include <string_view>

#include "moetrain/config/block_list.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"

namespace moetrain {
namespace {

using parallel::concat;
using parallel::user_error;

using ConfigOfBlock = std::vector<const MoeConfig*>;  // null: dense

/// Of each slot.
struct ConfigsOfBlocks {
  ConfigOfBlock feed_forward, attention;

  ConfigOfBlock& of(Slot slot) { return slot == Slot::kFeedForward ? feed_forward : attention; }
};

constexpr const char* kUnnamed = "moe";  // [moe] itself, in a placement

std::string without_spaces(std::string_view text) { return std::string(parallel::trimmed(text, " ")); }

/// Reads MoeConfig::placement; every refusal names it.
class Placement {
 public:
  Placement(const MoeConfig& config, int64_t blocks) : config_(config), blocks_(blocks) {
    const ConfigOfBlock dense(static_cast<size_t>(blocks), nullptr);
    of_blocks_ = {dense, dense};
  }

  ConfigsOfBlocks read() {
    if (config_.layers != "all") {
      user_error("moe.layers = \"", config_.layers, "\" with moe.placement = \"", config_.placement,
                 "\": both say which blocks hold experts; legal: one of them");
    }
    for (const std::string_view piece : parallel::split(config_.placement, ';')) place(piece);
    return of_blocks_;
  }

 private:
  [[noreturn]] void refuse(const std::string& reason) const {
    user_error("moe.placement = \"", config_.placement, "\": ", reason);
  }

  void place(std::string_view piece) {
    const size_t colon = piece.find(':');
    if (colon == std::string_view::npos) {
      refuse(concat("'", without_spaces(piece), "' gives nothing its blocks; legal: NAME:BLOCKS with semicolons ",
                    "between them, such as \"moe:even; wide:1,3\""));
    }
    const std::string name = without_spaces(piece.substr(0, colon));
    const size_t dot = name.find('.');
    const MoeConfig& layer = config_named(name.substr(0, dot));
    ConfigOfBlock& of_block = of_blocks_.of(slot_named(dot == name.npos ? "" : name.substr(dot + 1)));
    if (std::ranges::count(of_block, &layer) > 0) refuse(concat("'", name, "' stands there twice"));
    const std::string key = "moe.placement: " + name, what = "layers of this kind";
    const std::vector<bool> own =
        chosen_blocks({key.c_str(), what.c_str()}, without_spaces(piece.substr(colon + 1)), blocks_);
    for (size_t block = 0; block < own.size(); ++block) {
      if (!own[block]) continue;
      if (of_block[block] != nullptr) {
        refuse(concat("block ", block, " is given to '", name_of(*of_block[block]), "' and to '", name, "'"));
      }
      of_block[block] = &layer;
    }
  }

  /// Empty: a name that says none.
  Slot slot_named(const std::string& text) const {
    if (text.empty()) return Slot::kFeedForward;
    for (const Slot slot : {Slot::kFeedForward, Slot::kAttention}) {
      if (text == names_of(Slot())[static_cast<size_t>(slot)]) return slot;
    }
    refuse(concat("'", text, "' is no place in a block; legal: NAME, NAME.feed_forward or NAME.attention"));
  }

  static std::string name_of(const MoeConfig& layer) { return layer.name.empty() ? kUnnamed : layer.name; }

  const MoeConfig& config_named(const std::string& name) const {
    if (name == kUnnamed) return config_;
    std::vector<std::string> known{kUnnamed};
    for (const MoeConfig& layer : config_.named) {
      if (layer.name == name) return layer;
      known.push_back(layer.name);
    }
    const std::string nearest = parallel::nearest_name(name, known);
    refuse(concat("there is no section [layer.", name, "]",
                  nearest.empty() ? "; known: " + parallel::list_names(known) : "; did you mean '" + nearest + "'?"));
  }

  const MoeConfig& config_;
  int64_t blocks_;
  ConfigsOfBlocks of_blocks_;
};

ConfigsOfBlocks configs_of_blocks(const MoeConfig& config, int64_t blocks) {
  ConfigsOfBlocks all;
  if (!config.placement.empty()) {
    all = Placement(config, blocks).read();
  } else {
    for (const bool chosen : chosen_blocks({"moe.layers", "experts"}, config.layers, blocks)) {
      all.feed_forward.push_back(chosen ? &config : nullptr);
      all.attention.push_back(nullptr);
    }
  }
  for (const MoeConfig& layer : config.named) {
    if (layer.name == kUnnamed) user_error("[layer.moe]: in a placement moe is [moe] itself; legal: another name");
    if (std::ranges::count(all.feed_forward, &layer) + std::ranges::count(all.attention, &layer) > 0) continue;
    user_error("[", section_of(layer), "] is in no block; legal: a moe.placement that says in which, such as \"",
               layer.name, ":0\", or without this section");
  }
  return all;
}

/// The block's number of experts_by_layer, of a kind that stands in `wanted` blocks, `before` of them earlier.
int64_t own_number(const MoeConfig& layer, int64_t wanted, int64_t before, const std::string& by) {
  if (std::ssize(layer.experts_by_layer) != wanted) {
    user_error(section_of(layer), ".experts_by_layer has ", layer.experts_by_layer.size(), " numbers, but ", by, " is ",
               wanted, " blocks with experts; legal: ", wanted, " numbers, or none for ", section_of(layer),
               ".experts everywhere");
  }
  return layer.experts_by_layer[static_cast<size_t>(before)];
}

}  // namespace

std::vector<bool> expert_blocks(const MoeConfig& config, int64_t blocks, Slot slot) {
  const ConfigOfBlock of_block = configs_of_blocks(config, blocks).of(slot);
  std::vector<bool> with_experts;
  for (const MoeConfig* layer : of_block) with_experts.push_back(layer != nullptr);
  return with_experts;
}

std::vector<std::optional<MoeConfig>> layer_configs(const MoeConfig& config, int64_t blocks, Slot slot) {
  const ConfigOfBlock of_block = configs_of_blocks(config, blocks).of(slot);
  const std::string by = config.placement.empty()
                             ? concat("moe.layers = \"", config.layers, "\" of ", blocks, " blocks")
                             : concat("its part of moe.placement = \"", config.placement, "\"");
  std::vector<std::optional<MoeConfig>> all(of_block.size());
  for (auto place = of_block.begin(); place != of_block.end(); ++place) {
    if (*place == nullptr) continue;
    MoeConfig& own = all[static_cast<size_t>(place - of_block.begin())].emplace(**place);
    own.named.clear(), own.layers = "all", own.placement.clear(), own.slot = slot;
    if (own.experts_by_layer.empty()) continue;
    own.experts =
        own_number(**place, std::ranges::count(of_block, *place), std::count(of_block.begin(), place, *place), by);
    own.experts_by_layer.clear();
  }
  return all;
}

std::vector<MoeConfig> all_layer_configs(const MoeConfig& config, int64_t blocks) {
  std::vector<MoeConfig> all;
  for (const Slot slot : {Slot::kFeedForward, Slot::kAttention}) {
    for (auto& layer : layer_configs(config, blocks, slot)) {
      if (layer) all.push_back(*std::move(layer));
    }
  }
  return all;
}

}  // namespace moetrain
