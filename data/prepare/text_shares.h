// defines: TextShares: which keys are held out, and what each group then has
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/sources/document.h"

namespace data {

/// Bytes of text by group and split, as keys move between training (where all begin) and held out.
class TextShares {
 public:
  TextShares(const std::vector<SourceDocument>& documents, double fraction);

  struct Key {
    std::map<std::string, int64_t> bytes;  // of each group that has documents of it
    std::vector<size_t> documents;
    double draw = 0;  // [0, 1), a function of the key
    bool heldout = false;
    int64_t total() const;
  };
  struct Group {
    int64_t total = 0;              // bytes
    int64_t heldout = 0;            // bytes, cuts included
    std::vector<std::string> keys;  // in the order of their draws
  };

  const std::map<std::string, Key>& keys() const { return keys_; }
  const std::map<std::string, Group>& groups() const { return groups_; }
  /// The names of the groups, those with most text first.
  std::vector<std::string> largest_first() const;
  Group all() const;  // with all keys in the order of their draws

  double wanted(const Group& group) const { return fraction_ * static_cast<double>(group.total); }
  /// Half and one and a half times the share; of a share above one half as far from all of the text as from none of it.
  double least(const Group& group) const;
  double most(const Group& group) const;
  bool has_its_share(const Group& group) const;

  void hold_out(const std::string& key, bool heldout);
  /// Whether each of the key's groups keeps training text without it.
  bool may_leave(const std::string& key) const;
  /// Counts the end of a document as held out.
  void cut(const std::string& group, int64_t bytes) { groups_.at(group).heldout += bytes; }

 private:
  void sort_by_draw(std::vector<std::string>& keys) const;

  std::map<std::string, Key> keys_;
  std::map<std::string, Group> groups_;
  double fraction_;
};

}  // namespace data
