#include "launch/interchange/tensors/json_object.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace launch::interchange {

namespace {

template <class Any>
Any parse_strictly(const std::string& text, const std::string& place) {
  constexpr int kDeepest = 64;
  std::vector<std::set<std::string>> names;  // of the objects that are open
  std::string repeated;
  bool deep = false;
  using Event = typename Any::parse_event_t;
  const auto watch = [&](int depth, Event event, Any& value) {
    deep = deep || depth > kDeepest;
    if (event == Event::object_start) names.emplace_back();
    if (event == Event::object_end && !names.empty()) names.pop_back();
    if (event == Event::key && !names.empty() && !names.back().insert(value.template get<std::string>()).second) {
      repeated = value.template get<std::string>();
    }
    return depth <= kDeepest;  // what is deeper is not kept
  };
  Any object;
  try {
    object = Any::parse(text, watch);
  } catch (const typename Any::exception& error) {
    parallel::user_error(place, ": is not a JSON object: ", parallel::printable(error.what()));
  }
  if (deep) parallel::user_error(place, ": is nested deeper than ", kDeepest, " levels");
  if (!object.is_object()) parallel::user_error(place, ": is not a JSON object");
  if (!repeated.empty()) parallel::user_error(place, ": names '", parallel::printable(repeated), "' twice");
  return object;
}

}  // namespace

Json parse_json_object(const std::string& text, const std::string& place) { return parse_strictly<Json>(text, place); }

LargeJson parse_large_object(const std::string& text, const std::string& place) {
  return parse_strictly<LargeJson>(text, place);
}

std::string read_small_file(const std::filesystem::path& path, uint64_t largest) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    parallel::user_error(path.string(), ": cannot be read: it is no file");  // a pipe would be waited for
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) parallel::user_error(path.string(), ": cannot be read: ", std::strerror(errno));
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

}  // namespace launch::interchange
