// defines: describe_keys
#pragma once
#include <memory>
#include <string>

#include "launch/recipe/registry.h"

namespace launch {

/// What `moetrain train --keys` prints: by section, every key with type, default, legal values and a sentence; no line
/// is longer than 100 columns.
std::string describe_keys(std::shared_ptr<const Registry> registry);

}  // namespace launch
