#include "parallel/kernels/threads.h"

#include "parallel/kernels/processor.h"

namespace parallel {

int64_t threads_at_hand() { return omp_in_parallel() != 0 ? 1 : omp_get_max_threads(); }

void for_each_part(int64_t parts, const std::function<void(int64_t part)>& action) {
  over_threads(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) action(part);
  });
}

}  // namespace parallel
