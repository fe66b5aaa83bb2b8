// What an error offers in place of a name or number that is none.
// defines: nearest_name, list_names, quote_some, nearest_multiples, nearest_divisors
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace parallel {

/// The known name with the smallest edit distance to `word`; empty where none is within half of the word's length.
std::string nearest_name(std::string_view word, const std::vector<std::string>& known);

/// "a, b, c"
std::string list_names(const std::vector<std::string>& known);

/// "'a', 'b', 'c' and 7 more": no more than three names, which may be many.
std::string quote_some(const std::vector<std::string>& names);

/// "180 or 192": the multiples of `step` around `value`, without 0.
std::string nearest_multiples(int64_t value, int64_t step);

/// "3 or 6": the divisors of `whole` around `value`.
std::string nearest_divisors(int64_t value, int64_t whole);

}  // namespace parallel
