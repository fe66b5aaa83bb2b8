#include "launch/recipe/registry.h"

namespace launch {

std::shared_ptr<const Registry> builtin_registry() {
  static const auto kBuiltin = std::make_shared<const Registry>();
  return kBuiltin;
}

}  // namespace launch
