#include "launch/interchange/config_keys.h"

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch::interchange {

void ConfigKeys::fixed(const char* name, const Json& only) {
  if (!reads_) return write(name, only);
  const Json* found = given(name);
  if (found != nullptr && *found != only) refuse(name, "cannot be imported; legal: " + only.dump());
}

const Json* ConfigKeys::given(const char* name) {
  known_.insert(name);
  const auto found = config_.find(name);
  return found == config_.end() || found->is_null() ? nullptr : &*found;
}

std::string ConfigKeys::key_of(const void* value) const {
  const auto found = bound_.find(value);
  return found == bound_.end() ? "" : found->second;
}

void ConfigKeys::refuse(const std::string& name, const std::string& why) const {
  const auto found = config_.find(name);
  std::string value = found == config_.end() ? "" : " = " + found->dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr size_t kLongest = 120;
  if (value.size() > kLongest) value = value.substr(0, kLongest) + "...";
  parallel::user_error(place_, ": ", name, value, " ", why);
}

void ConfigKeys::check_all_known() const {
  std::vector<std::string> strange;
  for (const auto& [name, value] : config_.items()) {
    // Names of tokens are the tokenizer's; what begins with a line is a note that transformers made for itself.
    const bool note = name.starts_with('_') || name.ends_with("_token_id");
    if (!note && !known_.contains(name)) strange.push_back(name);
  }
  if (strange.empty()) return;
  parallel::user_error(place_, ": nobody here knows what ", parallel::list_names(strange),
                       " would mean; legal: without ", strange.size() == 1 ? "it" : "them",
                       ", or --ignore with the name of a key that changes nothing");
}

void ConfigKeys::read(const char* name, const Json& found, int64_t& value) const {
  constexpr int64_t kLargest = (int64_t{1} << 31) - 1;  // so that products of two are whole numbers too
  const bool whole = found.is_number_integer() && (!found.is_number_unsigned() || found.get<uint64_t>() <= kLargest);
  if (!whole || found.get<int64_t>() < 0 || found.get<int64_t>() > kLargest) {
    refuse(name, "is no whole number from 0 to 2^31 - 1");
  }
  value = found.get<int64_t>();
}

void ConfigKeys::read(const char* name, const Json& found, double& value) const {
  if (!found.is_number()) refuse(name, "is no number");
  value = found.get<double>();
}

void ConfigKeys::read(const char* name, const Json& found, bool& value) const {
  if (!found.is_boolean()) refuse(name, "is neither true nor false");
  value = found.get<bool>();
}

}  // namespace launch::interchange
