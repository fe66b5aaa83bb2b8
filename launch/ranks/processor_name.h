// defines: processor_name
#pragma once
#include <string>

namespace launch {

/// Of this host, as the system calls it.
std::string processor_name();

}  // namespace launch
