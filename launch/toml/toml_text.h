// Values as TOML writes them.
// defines: toml_text, quoted_text, shortest_text
#pragma once
#include <string>
#include <string_view>

#include "parallel/base/field.h"

namespace launch {

/// The value a field holds as a TOML value which reads back as the same value, e.g. 2, 0.1, true, "cpu", "2000u".
std::string toml_text(const parallel::FieldPointer& value);

/// A TOML basic string: in double quotes, with escapes. UTF-8 in, UTF-8 out.
std::string quoted_text(std::string_view text);

/// The shortest text that reads back as the same double, e.g. "0.1", "1e-08"; not always a TOML float ("2").
std::string shortest_text(double value);

}  // namespace launch
