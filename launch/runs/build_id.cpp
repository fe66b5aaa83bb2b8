#include "launch/runs/build_id.h"

#include <cstdio>
#include <fstream>
#include <string_view>
#include <vector>

#include "launch/checkpoint/checksum.h"

namespace launch {

std::string build_id() {
  static const std::string id = [] {
    std::ifstream program("/proc/self/exe", std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(program)), std::istreambuf_iterator<char>());
    // Their library is a file of its own, and other kernels add in other orders: the name makes this another program.
    for (const char letter : std::string_view("kernels of GPUs: " MOETRAIN_DEVICE_KERNELS)) bytes.push_back(letter);
    bytes.resize((bytes.size() + 7) / 8 * 8);
    char hash[20];
    std::snprintf(
        hash, sizeof(hash), "%016llx",
        static_cast<unsigned long long>(partial_checksum(bytes.data(), 8, static_cast<int64_t>(bytes.size()) / 8, 0)));
    return std::string(MOETRAIN_VERSION) + "+" + hash;
  }();
  return id;
}

}  // namespace launch
