#include "parallel/base/enum.h"

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace parallel {

void EnumValue::set(std::string_view name) {
  const auto found = std::ranges::find(names_, name);
  if (found == names_.end()) user_error("unknown name '", name, "'; known: ", list_names(names()));
  value_ = static_cast<size_t>(found - names_.begin());
}

}  // namespace parallel
