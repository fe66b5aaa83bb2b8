#include "data/prepare/holdout.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

/// The keys of all documents, their draws and what each group has in each split.
class KeySplit {
 public:
  KeySplit(const std::vector<SourceDocument>& documents, double fraction) {
    for (const SourceDocument& document : documents) {
      groups_of_[document.key].insert(document.group);
      keys_of_[document.group].insert(document.key);
    }
    for (const auto& [key, groups] : groups_of_) {
      for (const std::string& group : groups) ++counts_[group][0];
      // FNV's high bits are poor for short names; as a Philox key it is as good as any.
      draw_[key] = parallel::RandomStream(parallel::hash_name(key), "held out").uniform(0);
      if (draw_[key] < fraction) move(key, Split::kHeldOut);
    }
  }

  bool is_heldout(const std::string& key) const { return heldout_.contains(key); }

  std::vector<std::string> groups() const {
    std::vector<std::string> names;
    for (const auto& [group, keys] : keys_of_) names.push_back(group);
    return names;
  }

  /// Keys of the group that are in the split.
  int64_t count(const std::string& group, Split split) const { return counts_.at(group)[static_cast<size_t>(split)]; }

  /// Brings one key of `group` into `split`, the one whose draw is nearest to that side; false where each would leave
  /// a group without the other split.
  bool move_one(const std::string& group, Split split) {
    const Split from = split == Split::kTrain ? Split::kHeldOut : Split::kTrain;
    const double sign = split == Split::kHeldOut ? 1 : -1;
    const std::string* best = nullptr;
    for (const std::string& key : keys_of_.at(group)) {
      if (is_heldout(key) == (split == Split::kHeldOut) || !may_leave(key, from)) continue;
      if (best == nullptr || sign * draw_.at(key) < sign * draw_.at(*best)) best = &key;
    }
    if (best == nullptr) return false;
    move(*best, split);
    return true;
  }

 private:
  void move(const std::string& key, Split split) {
    split == Split::kHeldOut ? static_cast<void>(heldout_.insert(key)) : static_cast<void>(heldout_.erase(key));
    for (const std::string& group : groups_of_.at(key)) {
      ++counts_[group][static_cast<size_t>(split)];
      --counts_[group][1 - static_cast<size_t>(split)];
    }
  }

  bool may_leave(const std::string& key, Split from) const {
    const auto& groups = groups_of_.at(key);
    return from == Split::kHeldOut ||
           std::all_of(groups.begin(), groups.end(), [&](const std::string& group) { return count(group, from) > 1; });
  }

  std::map<std::string, std::set<std::string>> groups_of_;  // key -> groups
  std::map<std::string, std::set<std::string>> keys_of_;    // group -> keys
  std::map<std::string, std::array<int64_t, 2>> counts_;    // group -> keys in each split
  std::map<std::string, double> draw_;                      // key -> [0, 1)
  std::set<std::string> heldout_;
};

}  // namespace

Holdout choose_heldout(const std::vector<SourceDocument>& documents, double fraction) {
  if (!(fraction >= 0 && fraction < 1)) parallel::user_error("held-out fraction is ", fraction, "; legal: 0 <= x < 1");
  Holdout holdout;
  KeySplit keys(documents, fraction);
  for (const std::string& group : keys.groups()) {
    if (keys.count(group, Split::kTrain) == 0) keys.move_one(group, Split::kTrain);
  }
  for (const std::string& group : keys.groups()) {
    if (fraction == 0 || keys.count(group, Split::kHeldOut) > 0) continue;
    if (keys.move_one(group, Split::kHeldOut)) continue;
    holdout.notes.push_back("Nothing of group '" + group + "' is held out: it has too few documents to take one away.");
  }
  for (const SourceDocument& document : documents) {
    holdout.split.push_back(keys.is_heldout(document.key) ? Split::kHeldOut : Split::kTrain);
  }
  return holdout;
}

}  // namespace data
