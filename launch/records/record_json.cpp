#include "launch/records/record_json.h"

#include <cmath>

#include "parallel/base/fault.h"

namespace launch {
namespace {

[[noreturn]] void bad_field(const std::string& place, const std::string& expected, const RecordJson& found) {
  throw BadRecord(parallel::concat("'", place, "' must be ", expected, ", found ", found.type_name()));
}

}  // namespace

RecordJson RecordWriter::value_of(double value) {
  constexpr double kExact = 9e15;  // whole numbers are exact in a double up to here
  if (std::abs(value) <= kExact && value == std::floor(value)) return static_cast<int64_t>(value);
  return std::isfinite(value) ? RecordJson(value) : RecordJson(nullptr);
}

void RecordReader::read(const RecordJson* json, const std::string& place, int64_t& value) {
  if (json == nullptr || json->is_null()) throw BadRecord(parallel::concat("'", place, "' is missing"));
  if (!json->is_number_integer() || json->get<int64_t>() < 0) bad_field(place, "a whole number, at least 0", *json);
  value = json->get<int64_t>();
}

void RecordReader::read(const RecordJson* json, const std::string& place, double& value) {
  value = kNoNumber;
  if (json == nullptr || json->is_null()) return;
  if (!json->is_number()) bad_field(place, "a number", *json);
  value = json->get<double>();
}

void RecordReader::read(const RecordJson* json, const std::string& place, std::string& value) {
  value.clear();
  if (json == nullptr || json->is_null()) return;
  if (!json->is_string()) bad_field(place, "text", *json);
  value = json->get<std::string>();
}

void RecordReader::read(const RecordJson* json, const std::string& place, std::array<std::string, 2>& values) {
  if (!json->is_array() || json->size() != 2) bad_field(place, "a list of two texts", *json);
  for (size_t i = 0; i < 2; ++i) read(&(*json)[i], place, values[i]);
}

const RecordJson* RecordReader::find(const RecordJson& object, const char* key) {
  const auto field = object.find(key);
  return field == object.end() ? nullptr : &*field;
}

bool RecordReader::is_there(const RecordJson* json, const std::string& place, RecordJson::value_t kind) {
  if (json == nullptr || json->is_null()) return false;
  if (json->type() != kind) bad_field(place, kind == RecordJson::value_t::object ? "an object" : "a list", *json);
  return true;
}

void RecordReader::require_objects(const RecordJson& element, const std::string& place) {
  if (!element.is_object()) bad_field(place, "a list of objects", element);
}

}  // namespace launch
