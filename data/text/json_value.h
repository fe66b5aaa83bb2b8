// Reading a tokenizer's JSON, which came from outside: every fault is the user's, with its place.
// defines: JsonValue, parse_json
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "parallel/base/name_table.h"

namespace data {

/// A view of one value that knows where it stands ("tokenizer.json: normalizer.normalizers[1]"). The document must
/// outlive it.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& json, std::string place) : json_(&json), place_(std::move(place)) {}

  const std::string& place() const { return place_; }
  const nlohmann::json& json() const { return *json_; }
  bool is_null() const { return json_->is_null(); }

  /// A member of an object; a view of null where there is none.
  JsonValue operator[](const std::string& key) const;
  /// The elements of an array, of which there may be at most `most`.
  std::vector<JsonValue> items(size_t most) const;

  /// UserError for a value of another kind. With a default, null is that.
  const std::string& text() const;
  std::string text(const std::string& fallback) const;
  bool flag(bool fallback) const;
  int64_t integer(int64_t low, int64_t high) const;
  double number() const;
  /// Exactly one character.
  std::string character(const std::string& fallback) const;

  /// The row of a table that this object's "type" names; that this text names.
  template <class Value>
  Value pick(const parallel::NameTable<Value>& table) const {
    return (*this)["type"].pick_text(table);
  }
  template <class Value>
  Value pick_text(const parallel::NameTable<Value>& table) const {
    const std::string& name = text();
    try {
      return table.at(name);
    } catch (const parallel::UserError& unknown) {
      fail(unknown.what());
    }
  }

  /// "PLACE: WHAT"
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const nlohmann::json* json_;
  std::string place_;
};

/// UserError that begins with `place` for a text that is no JSON (line and column), or not UTF-8.
nlohmann::json parse_json(const std::string& text, const std::string& place);

}  // namespace data
