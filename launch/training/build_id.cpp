#include "launch/training/build_id.h"

#include <cstdio>
#include <fstream>
#include <vector>

#include "launch/checkpoint/checksum.h"

namespace launch {

std::string build_id() {
  static const std::string id = [] {
    std::ifstream program("/proc/self/exe", std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(program)), std::istreambuf_iterator<char>());
    const auto size = static_cast<int64_t>(bytes.size());
    char hash[20];
    std::snprintf(hash, sizeof(hash), "%016llx",
                  static_cast<unsigned long long>(partial_checksum(bytes.data(), size, 0, word_count(size))));
    return std::string(MOETRAIN_VERSION) + "+" + hash;
  }();
  return id;
}

}  // namespace launch
