#include "data/datasets/direction_choice.h"

#include <algorithm>
#include <string_view>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"

namespace data {
namespace {

bool means(std::string_view item, const Direction& direction, const std::vector<std::string>& groups) {
  const std::string& source = groups[static_cast<size_t>(direction.source)];
  const std::string& target = groups[static_cast<size_t>(direction.target)];
  return item == "all" || item == "*-*" || item == direction.name || item == source + "-*" || item == "*-" + target;
}

std::vector<Direction> all_directions(const std::vector<std::string>& groups) {
  std::vector<Direction> all;
  const auto count = static_cast<int32_t>(groups.size());
  for (int32_t source = 0; source < count; ++source) {
    for (int32_t target = 0; target < count; ++target) {
      if (source == target) continue;
      all.push_back({source, target, groups[static_cast<size_t>(source)] + "-" + groups[static_cast<size_t>(target)]});
    }
  }
  return all;
}

std::string list_offer(const std::vector<Direction>& known, const std::vector<bool>& has_pairs) {
  constexpr size_t kMostListed = 40;
  std::vector<std::string> names;
  for (size_t i = 0; i < known.size(); ++i) {
    if (has_pairs[i]) names.push_back(known[i].name);
  }
  const size_t found = names.size();
  names.resize(std::min(found, kMostListed));
  return parallel::list_names(names) + (found > kMostListed ? parallel::concat(", ... (", found, " in all)") : "");
}

}  // namespace

std::vector<Direction> choose_directions(const std::string& list, const DirectionOffer& offer) {
  const std::vector<Direction> known = all_directions(offer.groups);
  std::vector<bool> has_pairs, chosen(known.size(), false);
  for (const Direction& direction : known) {
    const auto place = static_cast<size_t>(direction.source) * offer.groups.size();
    has_pairs.push_back(offer.pairs_GG[place + static_cast<size_t>(direction.target)] > 0);
  }
  for (const std::string_view item : parallel::split(list, ',')) {
    bool is_known = false, is_offered = false;
    for (size_t i = 0; i < known.size(); ++i) {
      if (!means(item, known[i], offer.groups)) continue;
      is_known = true;
      is_offered = is_offered || has_pairs[i];
      if (has_pairs[i]) chosen[i] = true;
    }
    if (is_offered) continue;
    parallel::user_error("data.directions: ", offer.place,
                         is_known ? " has no sentence pair for '" : " knows no direction '", item, "'; it has ",
                         list_offer(known, has_pairs), " ('*' stands for any language; or \"all\")");
  }
  std::vector<Direction> directions;
  for (size_t i = 0; i < known.size(); ++i) {
    if (chosen[i]) directions.push_back(known[i]);
  }
  return directions;
}

}  // namespace data
