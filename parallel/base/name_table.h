// defines: NameTable<Value>, the one table of a strategy folder: name -> maker
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace parallel {

/// A table is a value: `builtin_...()` returns one, and a program outside the tree adds its own rows.
/// An unknown name is the user's fault; the message lists the known ones.
template <class Value>
class NameTable {
 public:
  using Row = std::pair<std::string, Value>;

  /// `what` names the entries in messages, e.g. "tokenizer".
  NameTable(std::string what, std::vector<Row> rows) : what_(std::move(what)) {
    for (Row& row : rows) add(row.first, std::move(row.second));
  }

  void add(const std::string& name, Value value) {
    if (find(name) != rows_.end()) user_error("there is a ", what_, " named '", name, "' already");
    rows_.emplace_back(name, std::move(value));
  }

  const Value& at(const std::string& name) const {
    const auto row = find(name);
    if (row == rows_.end()) user_error("unknown ", what_, " '", name, "'; known: ", list_names(names()));
    return row->second;
  }

  /// In the order in which they came.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, value] : rows_) all.push_back(name);
    return all;
  }

 private:
  auto find(const std::string& name) const { return std::ranges::find(rows_, name, &Row::first); }

  std::string what_;
  std::vector<Row> rows_;
};

}  // namespace parallel
