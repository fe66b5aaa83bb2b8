// A record as JSON and back, by its list of fields.
// defines: RecordJson, BadRecord, RecordWriter, RecordReader, record_to_json, record_from_json
#pragma once
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "launch/records/records.h"

namespace launch {

using RecordJson = nlohmann::ordered_json;

/// A field that cannot be used; whoever knows the file and line turns it into a UserError.
struct BadRecord : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How each kind of value is written.
struct RecordWriter {
  static RecordJson value_of(int64_t value) { return value; }
  /// Whole numbers without a point; what is not finite as null.
  static RecordJson value_of(double value);
  static RecordJson value_of(const std::string& value) { return value; }
  static RecordJson value_of(const std::array<std::string, 2>& values) { return {values[0], values[1]}; }

  template <class Value>
  static RecordJson value_of(const std::optional<Value>& value) {
    return value ? value_of(*value) : RecordJson(nullptr);
  }
  template <class Value>
  static RecordJson value_of(const std::vector<Value>& list) {
    RecordJson json = RecordJson::array();
    for (const Value& value : list) json.push_back(value_of(value));
    return json;
  }
  template <class Value>
  static RecordJson value_of(const Named<Value>& named) {
    RecordJson json = RecordJson::object();
    for (const auto& [name, value] : named) json[name] = value_of(value);
    return json;
  }
  template <class Record>
  static RecordJson value_of(const Record& record) {
    Record copy = record;  // visit() hands out mutable references
    RecordJson json = RecordJson::object();
    auto write = [&](const char* key, const auto& value, const char*) { json[key] = value_of(value); };
    visit(copy, write);
    return json;
  }
};

/// How each is read; `json` is null where it is absent. `place`: its name in messages, "groups.en.loss".
struct RecordReader {
  static void read(const RecordJson* json, const std::string& place, int64_t& value);
  static void read(const RecordJson* json, const std::string& place, double& value);
  static void read(const RecordJson* json, const std::string& place, std::string& value);
  static void read(const RecordJson* json, const std::string& place, std::array<std::string, 2>& values);

  template <class Value>
  static void read(const RecordJson* json, const std::string& place, std::optional<Value>& value) {
    if (json != nullptr && !json->is_null()) read(json, place, value.emplace());
  }
  template <class Value>
  static void read(const RecordJson* json, const std::string& place, std::vector<Value>& list) {
    if (!is_there(json, place, RecordJson::value_t::array)) return;
    for (const RecordJson& element : *json) {
      if constexpr (!std::is_arithmetic_v<Value>) require_objects(element, place);
      read(&element, place, list.emplace_back());
    }
  }
  template <class Value>
  static void read(const RecordJson* json, const std::string& place, Named<Value>& named) {
    if (!is_there(json, place, RecordJson::value_t::object)) return;
    for (const auto& [name, value] : json->items()) {
      read(&value, place + "." + name, named.emplace_back(name, Value{}).second);
    }
  }
  template <class Record>
  static void read(const RecordJson* json, const std::string& place, Record& record) {
    if (is_there(json, place, RecordJson::value_t::object)) read_fields(*json, place + ".", record);
  }
  template <class Record>
  static void read_fields(const RecordJson& json, const std::string& prefix, Record& record) {
    auto read_field = [&](const char* key, auto& value, const char*) { read(find(json, key), prefix + key, value); };
    visit(record, read_field);
  }

 private:
  static const RecordJson* find(const RecordJson& object, const char* key);
  /// False where it is absent or null; BadRecord where it is of another kind.
  static bool is_there(const RecordJson* json, const std::string& place, RecordJson::value_t kind);
  static void require_objects(const RecordJson& element, const std::string& place);
};

template <class Record>
RecordJson record_to_json(const Record& record) {
  return RecordWriter::value_of(record);
}

/// BadRecord where a field is of another type, or a whole number that has to be there is not. Unknown fields are left
/// out. @pre an object
template <class Record>
Record record_from_json(const RecordJson& object) {
  Record record;
  RecordReader::read_fields(object, "", record);
  return record;
}

}  // namespace launch
