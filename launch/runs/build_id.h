// defines: build_id
#pragma once
#include <string>

namespace launch {

/// "0.1.0+<hash of the running program>": two programs with one id are the same program.
std::string build_id();

}  // namespace launch
