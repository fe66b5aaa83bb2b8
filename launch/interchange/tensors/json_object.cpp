#include "launch/interchange/tensors/json_object.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "parallel/base/fault.h"

namespace launch::interchange {

Json parse_json_object(const std::string& text, const std::string& place) {
  constexpr int kDeepest = 64;
  std::vector<std::set<std::string>> names;  // of the objects that are open
  std::string repeated;
  bool deep = false;
  using Event = Json::parse_event_t;
  const auto watch = [&](int depth, Event event, Json& value) {
    if (depth > kDeepest) deep = true;
    if (event == Event::object_start) names.emplace_back();
    if (event == Event::object_end && !names.empty()) names.pop_back();
    if (event == Event::key && !names.empty() && !names.back().insert(value.get<std::string>()).second) {
      repeated = value.get<std::string>();
    }
    return true;
  };
  Json object;
  try {
    object = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    parallel::user_error(place, ": is not a JSON object: ", error.what());
  }
  if (!object.is_object()) parallel::user_error(place, ": is not a JSON object");
  if (!repeated.empty()) parallel::user_error(place, ": names '", repeated, "' twice");
  if (deep) parallel::user_error(place, ": is nested deeper than ", kDeepest, " levels");
  return object;
}

std::string read_small_file(const std::filesystem::path& path, uint64_t largest) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::error_code error;
  if (!file || std::filesystem::is_directory(path, error)) {
    parallel::user_error(path.string(), ": cannot be read: ", errno != 0 ? std::strerror(errno) : "it is a folder");
  }
  std::string text;
  constexpr size_t kPiece = 1 << 16;
  while (file && text.size() <= largest) {
    const size_t before = text.size();
    text.resize(before + kPiece);
    file.read(text.data() + before, kPiece);
    text.resize(before + static_cast<size_t>(file.gcount()));
  }
  if (text.size() > largest) parallel::user_error(path.string(), ": is larger than ", largest, " bytes");
  return text;
}

Json read_json_object(const std::filesystem::path& path, uint64_t largest) {
  return parse_json_object(read_small_file(path, largest), path.string());
}

}  // namespace launch::interchange
