#include "data/prepare/text_shares.h"

#include <algorithm>
#include <numeric>

#include "parallel/base/random.h"

namespace data {

int64_t TextShares::Key::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0},
                         [](int64_t sum, const auto& b) { return sum + b.second; });
}

TextShares::TextShares(const std::vector<SourceDocument>& documents, double fraction) : fraction_(fraction) {
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto bytes = static_cast<int64_t>(documents[i].text.size());
    Key& key = keys_[documents[i].key];
    key.bytes[documents[i].group] += bytes;
    key.documents.push_back(i);
    groups_[documents[i].group].total += bytes;
  }
  for (auto& [name, key] : keys_) {
    // FNV's high bits are poor for short names; as a Philox key it is as good as any.
    key.draw = parallel::RandomStream(parallel::hash_name(name), "held out").uniform(0);
    for (const auto& [group, bytes] : key.bytes) groups_.at(group).keys.push_back(name);
  }
  for (auto& [name, group] : groups_) sort_by_draw(group.keys);
}

void TextShares::sort_by_draw(std::vector<std::string>& keys) const {
  std::ranges::stable_sort(keys, {}, [this](const std::string& key) { return keys_.at(key).draw; });
}

std::vector<std::string> TextShares::largest_first() const {
  std::vector<std::string> names;
  for (const auto& [name, group] : groups_) names.push_back(name);
  std::stable_sort(names.begin(), names.end(), [this](const std::string& a, const std::string& b) {
    return groups_.at(a).total > groups_.at(b).total;
  });
  return names;
}

TextShares::Group TextShares::all() const {
  Group all;
  for (const auto& [name, group] : groups_) {
    all.total += group.total;
    all.heldout += group.heldout;
  }
  for (const auto& [name, key] : keys_) all.keys.push_back(name);
  sort_by_draw(all.keys);
  return all;
}

double TextShares::least(const Group& group) const {
  return wanted(group) - std::min(wanted(group), static_cast<double>(group.total) - wanted(group)) / 2;
}

double TextShares::most(const Group& group) const {
  return wanted(group) + std::min(wanted(group), static_cast<double>(group.total) - wanted(group)) / 2;
}

bool TextShares::has_its_share(const Group& group) const {
  const auto heldout = static_cast<double>(group.heldout);
  return heldout >= least(group) && heldout <= most(group);
}

void TextShares::hold_out(const std::string& name, bool heldout) {
  Key& key = keys_.at(name);
  if (key.heldout == heldout) return;
  key.heldout = heldout;
  for (const auto& [group, bytes] : key.bytes) groups_.at(group).heldout += heldout ? bytes : -bytes;
}

bool TextShares::may_leave(const std::string& name) const {
  const auto& bytes = keys_.at(name).bytes;
  return std::all_of(bytes.begin(), bytes.end(), [&](const auto& part) {
    const Group& group = groups_.at(part.first);
    return group.heldout + part.second < group.total;
  });
}

}  // namespace data
