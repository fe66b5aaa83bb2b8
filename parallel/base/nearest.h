// defines: nearest_name(word, known), list_names(known): what an error offers for an unknown name; quote_some(names)
#pragma once
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

}  // namespace parallel
