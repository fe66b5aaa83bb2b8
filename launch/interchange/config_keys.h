// A family says its config.json once, for both directions: the same calls read it and write it.
// defines: ConfigKeys
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/interchange/tensors/json_object.h"

namespace launch::interchange {

/// The keys of one config.json. Reading: values go into what the family binds; what no call names is refused by name
/// at the end, so that nothing that could change the numbers is passed over. Writing: the other way.
class ConfigKeys {
 public:
  /// `place`: where the config stands, for messages.
  static ConfigKeys reading(Json config, std::string place) { return {std::move(config), std::move(place), true}; }
  static ConfigKeys writing() { return {Json::object(), "", false}; }

  bool reads() const { return reads_; }

  /// A number, flag or text that must be there. UserError: absent, or of another type.
  template <class Value>
  void key(const char* name, Value& value) {
    if (!reads_) {
      write(name, value);
    } else if (const Json* found = given(name)) {
      read(name, *found, value);
      bound_[&value] = name;
    } else {
      refuse(name, "is missing");
    }
  }
  /// Likewise; absent or null it is `otherwise`, as transformers has it.
  template <class Value>
  void key(const char* name, Value& value, Value otherwise) {
    value = reads_ && given(name) == nullptr ? otherwise : value;
    if (!reads_ || given(name) != nullptr) key(name, value);
  }
  /// What moetrain has one value of only. UserError where another one is read; absent is that one.
  void fixed(const char* name, const Json& only);
  /// Likewise of a key that need not be written.
  void at_most(const char* name, const Json& only) {
    if (reads_) fixed(name, only);
  }
  /// Changes nothing of what the model computes: read as whatever it is, not written.
  void inert(const std::vector<std::string>& names) { known_.insert(names.begin(), names.end()); }

  /// Reading: its value, or null where it is absent or JSON's null; known from now on.
  const Json* given(const char* name);
  /// Whether it is there, be it null.
  bool names(const char* name) const { return config_.contains(name); }
  void write(const char* name, Json value) { config_[name] = std::move(value); }
  /// The key that was read into a value; empty where none was.
  std::string key_of(const void* value) const;
  /// UserError: "config.json: NAME = VALUE WHY".
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const;

  /// Reading: UserError for a key that no call has named.
  void check_all_known() const;
  /// Writing: all that was written.
  const Json& written() const { return config_; }

 private:
  ConfigKeys(Json config, std::string place, bool reads)
      : config_(std::move(config)), place_(std::move(place)), reads_(reads) {}

  void read(const char* name, const Json& found, int64_t& value) const;
  void read(const char* name, const Json& found, double& value) const;
  void read(const char* name, const Json& found, bool& value) const;

  Json config_;
  std::string place_;
  bool reads_;
  std::set<std::string> known_;
  std::map<const void*, std::string> bound_;
};

}  // namespace launch::interchange
