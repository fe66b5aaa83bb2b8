// defines: hdf5_version
#pragma once
#include <string>

namespace data {

/// "1.10.8", of the library that this process has loaded.
std::string hdf5_version();

}  // namespace data
