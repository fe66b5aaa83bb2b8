// defines: JsonMembers: a JSON object of a file, read strictly
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {

/// As it stands in the file, cut where it is long.
inline std::string quoted(const nlohmann::json& value) {
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

/// The members of one JSON object, each taken once; what nobody took is unknown.
class JsonMembers {
 public:
  JsonMembers(const nlohmann::json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) parallel::user_error(place_, ": ", quoted(object), " is no object with keys");
  }

  void integer(const char* key, int64_t low, int64_t& value) {
    const nlohmann::json* found = take(key);
    if (!found) return;
    const bool fits = found->is_number_integer() && *found >= low && *found <= kLargest;
    if (!fits) refuse(key, *found, parallel::concat("a whole number, at least ", low));
    value = found->get<int64_t>();
  }

  void boolean(const char* key, bool& value) {
    const nlohmann::json* found = take(key);
    if (!found) return;
    if (!found->is_boolean()) refuse(key, *found, "true or false");
    value = found->get<bool>();
  }

  void text(const char* key, std::string& value) {
    const nlohmann::json* found = take(key);
    if (!found) return;
    if (!found->is_string()) refuse(key, *found, "a text");
    value = found->get<std::string>();
  }

  void number(const char* key, double low, double& value) {
    const nlohmann::json* found = take(key);
    if (!found) return;
    const bool fits = found->is_number() && std::isfinite(found->get<double>()) && found->get<double>() >= low;
    if (!fits) refuse(key, *found, parallel::concat("a number, at least ", low));
    value = found->get<double>();
  }

  const nlohmann::json* take(const char* key) {
    known_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  void refuse_others() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::string nearest = parallel::nearest_name(key, known_);
      parallel::user_error(place_, ": unknown key ", quoted(key),
                           nearest.empty() ? "" : ", is '" + nearest + "' meant?",
                           " (known: ", parallel::list_names(known_), ")");
    }
  }

  [[noreturn]] void refuse(const char* key, const nlohmann::json& value, const std::string& legal) const {
    parallel::user_error(place_, ": ", key, " = ", quoted(value), " is not legal; it must be ", legal);
  }

 private:
  // Sums of a few thousand of these would overflow, and no machine has them.
  static constexpr int64_t kLargest = int64_t{1} << 60;

  const nlohmann::json& object_;
  std::string place_;
  std::vector<std::string> known_;
};

}  // namespace launch
