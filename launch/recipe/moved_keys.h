// Keys that had another name once.
// defines: MovedKey, moved_key
#pragma once
#include <string>

namespace launch {

struct MovedKey {
  const char *was, *is;
};

/// Null where there never was a key of this name, or where it still is one.
const MovedKey* moved_key(const std::string& name);

}  // namespace launch
