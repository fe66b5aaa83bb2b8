// defines: threads_at_hand, for_each_part: work that LibTorch's threads share out
#pragma once
#include <cstdint>
#include <functional>

namespace parallel {

/// How many would take part from here: at::get_num_threads(), and one where work is shared out already.
int64_t threads_at_hand();

/// action(part) for all of 0 to `parts` - 1, of which each thread takes an even share of neighbours in turn. Threads
/// know of no guard of LibTorch's that was set outside. What one of them throws is thrown when all have ended.
void for_each_part(int64_t parts, const std::function<void(int64_t part)>& action);

}  // namespace parallel
