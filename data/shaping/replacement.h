// defines: pattern_of, Replacement
#pragma once
#include <string>
#include <string_view>

#include "data/text/json_value.h"
#include "data/text/regex.h"

namespace data {

/// {"String": "..."} or {"Regex": "..."}
Regex pattern_of(const JsonValue& value);

/// The "Replace" of normalizers and decoders: each match of "pattern" becomes "content".
class Replacement {
 public:
  explicit Replacement(const JsonValue& value)
      : pattern_(pattern_of(value["pattern"])), content_(value["content"].text()) {}

  const std::string& content() const { return content_; }
  bool matches_start(std::string_view text) const;
  std::string apply(std::string_view text) const;

 private:
  Regex pattern_;
  std::string content_;
};

}  // namespace data
