// defines: all_ranks(group, action): a user's fault on one rank ends every rank, and one of them prints it;
// gather_texts: what every rank has to say
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/comm/communicator.h"

namespace parallel {

/// A user's fault that another rank reports: this rank ends with exit code 1 and prints nothing.
struct ReportedElsewhere : UserError {
  ReportedElsewhere() : UserError("reported by another rank") {}
};

/// Runs `action` on every rank of `group` (CPU tensors). Where it threw UserError on some ranks, the first of them
/// rethrows its own error and all the others throw ReportedElsewhere. `action` itself must not communicate over
/// `group` after a point where only some ranks may throw. Collective.
void all_ranks(Communicator& group, const std::function<void()>& action);

/// Every rank's text, in the order of ranks, on every rank. `group`: CPU tensors. Collective.
std::vector<std::string> gather_texts(Communicator& group, const std::string& text);

}  // namespace parallel
