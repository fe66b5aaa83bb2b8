// defines: utc_now, seconds_since
#pragma once
#include <chrono>
#include <string>

namespace launch {

/// "2026-01-31T23:59:59Z"
std::string utc_now();

double seconds_since(std::chrono::steady_clock::time_point start);

}  // namespace launch
