// User's fault and library's fault are two kinds of exception (exit codes 1 and 2).
// defines: UserError, InternalError, user_error(parts...), check_internal(condition, parts...)
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace parallel {

/// The user's fault: a recipe, file, corpus or layout that cannot be used. The message names the place, the
/// value and what would be legal. One rank prints it, every rank ends with exit code 1, no stack trace.
struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The library's fault: an invariant that does not hold. The job is aborted with rank, place and values.
struct InternalError : std::logic_error {
  using std::logic_error::logic_error;
};

/// Concatenates its arguments as an ostream would print them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <class... Parts>
[[noreturn]] void user_error(const Parts&... parts) {
  throw UserError(concat(parts...));
}

/// Throws InternalError with the given parts unless `condition` holds.
template <class... Parts>
void check_internal(bool condition, const Parts&... parts) {
  if (!condition) throw InternalError(concat(parts...));
}

}  // namespace parallel
