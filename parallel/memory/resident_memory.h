// What of this process lies in memory, libraries included. defines: resident_bytes, most_resident_bytes
#pragma once
#include <cstdint>

namespace parallel {

/// [byte] now.
int64_t resident_bytes();

/// [byte] at most since the program was started. getrusage would tell more where whoever started it was larger: Linux
/// hands that on through exec.
int64_t most_resident_bytes();

}  // namespace parallel
