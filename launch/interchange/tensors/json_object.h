// defines: Json, LargeJson, kLargestSmallFile, parse_json_object, parse_large_object, read_small_file: JSON from
// outside, read strictly
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace launch::interchange {

using Json = nlohmann::ordered_json;  // keeps the order of a config's keys; finds one by looking at all
using LargeJson = nlohmann::json;     // for the thousands of tensors of a header or an index

constexpr uint64_t kLargestSmallFile = 16 << 20;  // [bytes] of a config and the like

/// UserError, beginning with `place`: text that is not a JSON object (NaN and Infinity are no JSON), or an object that
/// names a key twice, at any depth.
Json parse_json_object(const std::string& text, const std::string& place);
LargeJson parse_large_object(const std::string& text, const std::string& place);

/// The text of a file of at most `largest` bytes. UserError for one that cannot be read, is larger, or is no file.
std::string read_small_file(const std::filesystem::path& path, uint64_t largest);

}  // namespace launch::interchange
