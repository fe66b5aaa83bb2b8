// Names that a recipe means by patterns: "*.router.*" is every name with ".router." in it.
// defines: NamePattern, PatternValues, name_patterns, misfit, fits, first_fit, check_each_fits
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace parallel {

/// A pattern, in which * stands for any text or none, and what is said of the names that fit it.
struct NamePattern {
  std::string pattern;
  double value = 1;
};

/// Whether a list of patterns gives each a number.
enum class PatternValues { kNone, kNumbers };

/// "embedding.*, *.router.*", or with numbers, at least 0, "*lora_b: 16, head.*: 0.1". Empty text: none. UserError
/// that begins with `key`, the recipe's, for anything else.
std::vector<NamePattern> name_patterns(const std::string& key, const std::string& text, PatternValues values);

/// Letters to change, add or take away before the name fits the pattern; 0: it does.
size_t misfit(std::string_view pattern, std::string_view name);
inline bool fits(std::string_view pattern, std::string_view name) { return misfit(pattern, name) == 0; }

/// The first pattern that fits the name; null: none does.
const NamePattern* first_fit(const std::vector<NamePattern>& patterns, std::string_view name);

/// UserError that begins with `key` for the first pattern that fits none of `names`, which are `things`
/// ("parameters"); it offers those that are nearest, of all blocks one ("blocks.*.moe.router.weight").
void check_each_fits(const std::string& key, const std::vector<NamePattern>& patterns,
                     const std::vector<std::string>& names, const std::string& things);

}  // namespace parallel
