#include "data/text/json_value.h"

#include "data/text/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

const nlohmann::json kNoJson = nullptr;

std::string shown_json(const nlohmann::json& json) {
  constexpr size_t kShown = 60;
  if (json.is_structured()) return json.is_array() ? "an array" : "an object";
  const std::string text = parallel::printable(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return text.size() <= kShown ? text : text.substr(0, kShown) + " ...";
}

}  // namespace

void JsonValue::fail(const std::string& what) const { parallel::user_error(place_, ": ", what); }

JsonValue JsonValue::operator[](const std::string& key) const {
  if (!json_->is_object()) fail("must be an object, but is " + shown_json(*json_));
  const auto found = json_->find(key);
  const std::string separator = place_.ends_with(".json") ? ": " : ".";
  return {found == json_->end() ? kNoJson : *found, place_ + separator + key};
}

std::vector<JsonValue> JsonValue::items(size_t most) const {
  if (!json_->is_array()) fail("must be an array, but is " + shown_json(*json_));
  if (json_->size() > most) fail(parallel::concat("has ", json_->size(), " elements; legal: at most ", most));
  std::vector<JsonValue> values;
  values.reserve(json_->size());
  for (const nlohmann::json& element : *json_) {
    values.emplace_back(element, parallel::concat(place_, "[", values.size(), "]"));
  }
  return values;
}

const std::string& JsonValue::text() const {
  if (!json_->is_string()) fail("must be a text, but is " + shown_json(*json_));
  return json_->get_ref<const std::string&>();
}

std::string JsonValue::text(const std::string& fallback) const { return is_null() ? fallback : text(); }

bool JsonValue::flag(bool fallback) const {
  if (is_null()) return fallback;
  if (!json_->is_boolean()) fail("must be true or false, but is " + shown_json(*json_));
  return json_->get<bool>();
}

int64_t JsonValue::integer(int64_t low, int64_t high) const {
  const bool fits = json_->is_number_integer() && (!json_->is_number_unsigned() || json_->get<uint64_t>() >> 63 == 0);
  if (!fits || json_->get<int64_t>() < low || json_->get<int64_t>() > high) {
    fail(parallel::concat("must be a whole number from ", low, " to ", high, ", but is ", shown_json(*json_)));
  }
  return json_->get<int64_t>();
}

double JsonValue::number() const {
  if (!json_->is_number()) fail("must be a number, but is " + shown_json(*json_));
  return json_->get<double>();
}

std::string JsonValue::character(const std::string& fallback) const {
  std::string one = text(fallback);
  if (one.empty() || code_point_bytes(one, 0) != one.size())
    fail("must be one character, but is " + shown_json(*json_));
  return one;
}

nlohmann::json parse_json(const std::string& text, const std::string& place) {
  if (valid_utf8_prefix(text) != text.size()) parallel::user_error(place, ": not UTF-8: ", describe_utf8_fault(text));
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& fault) {
    const std::string what = fault.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const size_t words = what.find("] ");
    parallel::user_error(place, ": ", parallel::printable(words == std::string::npos ? what : what.substr(words + 2)));
  }
}

}  // namespace data
