// defines: parse_json_line
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace data {

/// The object that a line of `place` ("FILE:LINE") is. UserError for everything else: what is wrong, and in which
/// column.
nlohmann::json parse_json_line(std::string_view line, const std::string& place);

}  // namespace data
