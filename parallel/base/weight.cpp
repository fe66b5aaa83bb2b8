#include "parallel/base/weight.h"

#include <array>
#include <charconv>
#include <cmath>
#include <sstream>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/span.h"

namespace parallel {
namespace {

[[noreturn]] void refuse_weight(std::string_view text) {
  user_error("'", text,
             "' is not a weight; legal: a number such as 0.01, or \"0.01 from 100u until 2000u\" (updates; either part "
             "may be left out, and the window must hold an update)");
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

double number_of(const std::string& word, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size() || !std::isfinite(value)) refuse_weight(text);
  return value;
}

int64_t update_of(const std::string& word, std::string_view text) {
  if (word.empty() || word.back() != 'u') refuse_weight(text);
  try {
    return parse_span(word).count;
  } catch (const UserError&) {
    refuse_weight(text);
  }
}

}  // namespace

Weight parse_weight(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  if (words.empty()) refuse_weight(text);
  Weight weight = number_of(words[0], text);
  size_t next = 1;
  if (next + 1 < words.size() && words[next] == "from") {
    weight.from = update_of(words[next + 1], text);
    next += 2;
  }
  if (next + 1 < words.size() && words[next] == "until") {
    weight.until = update_of(words[next + 1], text);
    next += 2;
  }
  if (next != words.size() || weight.from >= weight.until) refuse_weight(text);
  return weight;
}

std::string to_string(const Weight& weight) {
  std::array<char, 32> buffer;  // the longest shortest form of a double has 24 characters
  std::string text(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), weight.value).ptr);
  if (weight.from != 0) text += " from " + to_string(Span{weight.from, Unit::kUpdates});
  if (weight.until != Weight::kForever) text += " until " + to_string(Span{weight.until, Unit::kUpdates});
  return text;
}

}  // namespace parallel
