// defines: NameTable<Value>, the one table of a strategy folder: name -> maker
#pragma once
#include <map>
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
  /// `what` names the entries in messages, e.g. "tokenizer".
  NameTable(std::string what, std::map<std::string, Value> rows) : what_(std::move(what)), rows_(std::move(rows)) {}

  void add(const std::string& name, Value value) {
    if (!rows_.emplace(name, std::move(value)).second) user_error("there are two ", what_, "s named '", name, "'");
  }

  const Value& at(const std::string& name) const {
    const auto row = rows_.find(name);
    if (row == rows_.end()) user_error("unknown ", what_, " '", name, "'; known: ", list_names(names()));
    return row->second;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, value] : rows_) all.push_back(name);
    return all;
  }

 private:
  std::string what_;
  std::map<std::string, Value> rows_;
};

}  // namespace parallel
