#include "parallel/base/name_patterns.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"

namespace parallel {
namespace {

std::string without_spaces(std::string_view text) { return std::string(trimmed(text, " ")); }

[[noreturn]] void refuse_list(const std::string& key, const std::string& text, PatternValues values) {
  const bool numbers = values == PatternValues::kNumbers;
  user_error(key, " = \"", text, "\": legal are patterns of names, * for any text, ",
             numbers ? "each with a number of at least 0" : "without numbers", ", such as \"",
             numbers ? "embedding.*: 0.1, *.router.*: 0.5" : "embedding.*, *.router.*", "\"");
}

double number_behind(const std::string& word, const std::string& key, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size() || !std::isfinite(value) || value < 0) {
    refuse_list(key, text, PatternValues::kNumbers);
  }
  return value;
}

/// "blocks.3.moe" -> "blocks.*.moe"
std::string of_any_block(const std::string& name) {
  std::string general;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool part = i > 0 && name[i - 1] == '.' && std::isdigit(static_cast<unsigned char>(name[i])) != 0;
    const size_t end = part ? std::min(name.find('.', i), name.size()) : i;
    const bool number = part && std::all_of(name.begin() + static_cast<std::ptrdiff_t>(i),
                                            name.begin() + static_cast<std::ptrdiff_t>(end),
                                            [](unsigned char c) { return std::isdigit(c) != 0; });
    general += number ? '*' : name[i];
    if (number) i = end - 1;
  }
  return general;
}

}  // namespace

std::vector<NamePattern> name_patterns(const std::string& key, const std::string& text, PatternValues values) {
  std::vector<NamePattern> patterns;
  if (without_spaces(text).empty()) return patterns;
  for (const std::string_view item : split(text, ',')) {
    const size_t colon = item.find(':');
    NamePattern pattern{.pattern = without_spaces(item.substr(0, colon))};
    const bool numbered = colon != std::string_view::npos;
    if (pattern.pattern.empty() || numbered != (values == PatternValues::kNumbers)) refuse_list(key, text, values);
    if (numbered) pattern.value = number_behind(without_spaces(item.substr(colon + 1)), key, text);
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

size_t misfit(std::string_view pattern, std::string_view name) {
  std::vector<size_t> row(name.size() + 1);  // of the pattern so far, by the length of the name's beginning
  std::iota(row.begin(), row.end(), size_t{0});
  for (const char letter : pattern) {
    size_t diagonal = row[0];
    if (letter != '*') ++row[0];
    for (size_t j = 1; j <= name.size(); ++j) {
      const size_t above = row[j];
      row[j] = letter == '*' ? std::min(above, row[j - 1])
                             : std::min({above + 1, row[j - 1] + 1, diagonal + (letter != name[j - 1] ? 1 : 0)});
      diagonal = above;
    }
  }
  return row[name.size()];
}

const NamePattern* first_fit(const std::vector<NamePattern>& patterns, std::string_view name) {
  const auto found = std::ranges::find_if(patterns, [&](const auto& each) { return fits(each.pattern, name); });
  return found == patterns.end() ? nullptr : &*found;
}

void check_each_fits(const std::string& key, const std::vector<NamePattern>& patterns,
                     const std::vector<std::string>& names, const std::string& things) {
  constexpr size_t kMostOffered = 3;
  for (const NamePattern& each : patterns) {
    if (std::ranges::any_of(names, [&](const std::string& name) { return fits(each.pattern, name); })) continue;
    std::set<std::string> seen;
    std::vector<std::pair<size_t, std::string>> offers;
    for (const std::string& name : names) {
      const std::string general = of_any_block(name);
      if (seen.insert(general).second) offers.emplace_back(misfit(each.pattern, name), general);
    }
    std::ranges::stable_sort(offers, {}, &std::pair<size_t, std::string>::first);
    std::vector<std::string> nearest;
    for (size_t i = 0; i < std::min(offers.size(), kMostOffered); ++i) nearest.push_back(offers[i].second);
    user_error(key, ": '", each.pattern, "' fits none of the model's ", names.size(), " ", things,
               "; nearest: ", list_names(nearest));
  }
}

}  // namespace parallel
