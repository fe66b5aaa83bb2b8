// The keys of a choice belong to the choice: what the router "thor" may be told is THOR's own config, its table
// [moe.thor]. defines: OwnKeys, HasOwnKeys, OwnKeyList, own_keys_of
#pragma once
#include <any>
#include <map>
#include <typeindex>
#include <vector>

#include "parallel/base/field.h"

namespace parallel {

/// One config of each choice that was said anything of, by its type. A value: copies are copies of all of them.
class OwnKeys {
 public:
  /// Its defaults where nothing was said.
  template <class Config>
  const Config& get() const {
    static const Config kDefaults;
    const auto found = configs_.find(typeid(Config));
    return found == configs_.end() ? kDefaults : *std::any_cast<Config>(&found->second);
  }

  template <class Config>
  Config& get() {
    std::any& held = configs_[typeid(Config)];
    if (!held.has_value()) held = Config();
    return *std::any_cast<Config>(&held);
  }

 private:
  std::map<std::type_index, std::any> configs_;
};

/// Base of a config whose choices have keys of their own: `config.own<ThorConfig>()`.
struct HasOwnKeys {
  OwnKeys own_keys = {};

  template <class Own>
  const Own& own() const {
    return own_keys.get<Own>();
  }
  template <class Own>
  Own& own() {
    return own_keys.get<Own>();
  }
};

/// The fields of one choice's config among all; valid as long as `keys` stay where they are.
using OwnKeyList = std::vector<Field> (*)(OwnKeys& keys);

/// How a strategy names its config: `.keys = own_keys_of<ThorConfig>`.
template <class Config>
std::vector<Field> own_keys_of(OwnKeys& keys) {
  return fields_of(keys.get<Config>());
}

}  // namespace parallel
