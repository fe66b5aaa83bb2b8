// defines: printable(text): names and texts of others, as a terminal or a log may show them
#pragma once
#include <string>
#include <string_view>

namespace parallel {

/// The text with everything written out that a terminal obeys instead of showing: control characters as \n, \t or
/// \x1b, marks that turn the direction of writing or show nothing as \u202e, and bytes that are no UTF-8 as \xff. Every
/// name that comes from a file or a command line goes through here before it is printed.
std::string printable(std::string_view text);

}  // namespace parallel
