// What makes the host wait for the device, counted by what it is and by where in the program it was asked for.
// defines: count_wait, kComputeWaits
#pragma once

namespace strict {

/// Written as lines "COUNT WHAT PLACE PLACE PLACE" (places: addresses in the program, the innermost first) to the file
/// that STRICT_DEVICE_WAITS names, with the process' number behind it, when the program ends.
void count_wait(const char* what);

/// Counted too, though the host goes on: the stream that computes waits for another one.
constexpr const char* kComputeWaits = "compute waits";

}  // namespace strict
