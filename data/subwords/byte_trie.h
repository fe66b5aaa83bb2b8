// defines: ByteTrie
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace data {

/// Keys to values, for finding every key that a text begins with. Built once.
class ByteTrie {
 public:
  ByteTrie() = default;
  /// Of equal keys the first one counts; an empty key is never found.
  explicit ByteTrie(std::vector<std::pair<std::string, int32_t>> keys);

  /// Calls found(bytes, value) for each key that `text` begins with, the shortest first.
  template <class Found>
  void for_each_prefix(std::string_view text, const Found& found) const {
    size_t node = 0;
    for (size_t i = 0; i < text.size() && node < nodes_.size(); ++i) {
      const auto begin = labels_.begin() + nodes_[node].first_edge;
      const auto end = begin + nodes_[node].edges;
      const auto edge = std::lower_bound(begin, end, static_cast<uint8_t>(text[i]));
      if (edge == end || *edge != static_cast<uint8_t>(text[i])) return;
      node = targets_[static_cast<size_t>(edge - labels_.begin())];
      if (nodes_[node].value >= 0) found(i + 1, nodes_[node].value);
    }
  }

 private:
  struct Node {
    uint32_t first_edge = 0;
    int32_t value = -1;
    uint16_t edges = 0;
  };

  std::vector<Node> nodes_;
  std::vector<uint8_t> labels_;  // of the edges, those of a node beside each other in ascending order
  std::vector<uint32_t> targets_;
};

}  // namespace data
