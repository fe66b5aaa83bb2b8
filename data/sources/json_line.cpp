#include "data/sources/json_line.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr const char* kLegal = "; each line must be one, such as {\"text\": \"...\"}";

/// "unexpected end of input; expected ..." of the parser's "[json.exception...] parse error at ...: syntax error while
/// parsing value - unexpected end of input; expected ...", whose numbers of lines count from this line.
std::string reason_of(const std::string& message) {
  constexpr size_t kMostBytes = 200;
  constexpr std::string_view kBefore = " - ";
  const size_t dash = message.find(kBefore);
  const size_t bracket = message.find("] ");
  size_t begin = 0;
  if (dash != std::string::npos) {
    begin = dash + kBefore.size();
  } else if (bracket != std::string::npos) {
    begin = bracket + 2;
  }
  return message.substr(begin, kMostBytes);
}

}  // namespace

nlohmann::json parse_json_line(std::string_view line, const std::string& place) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    const std::string reason = reason_of(error.what());
    // "\ud83d" without its other half: JSON by its grammar, and no text.
    if (reason.find("surrogate") != std::string::npos) {
      parallel::user_error(place, ": column ", error.byte,
                           ": half of a surrogate pair, which is no character: ", reason);
    }
    parallel::user_error(place, ": not a JSON object: column ", error.byte, ": ", reason, kLegal);
  } catch (const nlohmann::json::out_of_range& error) {
    // The reason quotes the number.
    const std::string reason = reason_of(error.what());
    const size_t quote = std::min(reason.find('\''), reason.size());
    const std::string number = reason.substr(std::min(quote + 1, reason.size()), reason.rfind('\'') - quote - 1);
    const size_t at = number.empty() ? std::string_view::npos : line.find(number);
    parallel::user_error(place, ": column ", at == std::string_view::npos ? 1 : at + 1,
                         ": a number out of range: ", reason, "; write it as a string, or leave it out");
  }
  if (!object.is_object()) parallel::user_error(place, ": not a JSON object but ", object.type_name(), kLegal);
  return object;
}

}  // namespace data
