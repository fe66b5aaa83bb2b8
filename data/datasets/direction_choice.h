// defines: choose_directions: which directions a list such as "en-*,*-en" means
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/datasets/parallel_text.h"

namespace data {

/// What a split offers: pairs_GG[source * G + target] of each direction between its G groups.
struct DirectionOffer {
  std::string place;  // "FILE, split 'train'", for messages
  std::vector<std::string> groups;
  std::vector<int64_t> pairs_GG;
};

/// "all", or items separated by commas: "en-de", "en-*", "*-de". Sorted by source and target, each once. UserError for
/// an item that means no direction of the groups, and for one that means only directions without pairs; both list
/// those that have some.
std::vector<Direction> choose_directions(const std::string& list, const DirectionOffer& offer);

}  // namespace data
