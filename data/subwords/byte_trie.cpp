#include "data/subwords/byte_trie.h"

namespace data {

ByteTrie::ByteTrie(std::vector<std::pair<std::string, int32_t>> keys) {
  std::stable_sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Pending {  // keys [begin, end) share their first `depth` bytes, and are those of `node`
    size_t begin, end, depth, node;
  };
  nodes_.emplace_back();
  std::vector<Pending> pending{{0, keys.size(), 0, 0}};
  for (size_t next = 0; next < pending.size(); ++next) {
    auto [begin, end, depth, node] = pending[next];
    while (begin < end && keys[begin].first.size() == depth) {
      if (depth > 0 && nodes_[node].value < 0) nodes_[node].value = keys[begin].second;
      ++begin;
    }
    nodes_[node].first_edge = static_cast<uint32_t>(labels_.size());
    while (begin < end) {
      const char label = keys[begin].first[depth];
      size_t stop = begin;
      while (stop < end && keys[stop].first[depth] == label) ++stop;
      labels_.push_back(static_cast<uint8_t>(label));
      targets_.push_back(static_cast<uint32_t>(nodes_.size()));
      pending.push_back({begin, stop, depth + 1, nodes_.size()});
      nodes_.emplace_back();
      ++nodes_[node].edges;
      begin = stop;
    }
  }
}

}  // namespace data
