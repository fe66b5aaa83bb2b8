// defines: Json, parse_json_object, read_json_object: JSON from outside, read strictly
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace launch::interchange {

using Json = nlohmann::ordered_json;

/// UserError, beginning with `place`: text that is not a JSON object (NaN and Infinity are no JSON), or an object that
/// names a key twice, at any depth.
Json parse_json_object(const std::string& text, const std::string& place);

/// A file of at most `largest` bytes. UserError besides: one that cannot be read, or is larger.
Json read_json_object(const std::filesystem::path& path, uint64_t largest);

/// The text of such a file.
std::string read_small_file(const std::filesystem::path& path, uint64_t largest);

}  // namespace launch::interchange
