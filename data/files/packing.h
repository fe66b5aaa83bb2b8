// defines: Packing, packings, kMostExpansion, kHarmlessBytes: how a text file may be packed
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// A file that unpacks to more than this many times its size, and to more than kHarmlessBytes, is refused as a
/// decompression bomb. Text packs 3 to 10 times, the dullest log about 100 times; gzip's own limit is 1032.
constexpr int64_t kMostExpansion = 200;
constexpr int64_t kHarmlessBytes = 16ll << 20;

struct Packing {
  const char* name;         // "gzip"
  std::string_view ending;  // of a file's name, in small letters
  std::string_view mark;    // what such a file begins with, and no UTF-8 text
  /// All of the file's members, at most `most_bytes` of text. UserError, with the byte of the file, for what is
  /// damaged, ends too early, is no such file, or unpacks to more than it may.
  std::string (*unpack)(const std::filesystem::path& path, std::string_view packed, int64_t most_bytes);
};

const std::vector<Packing>& packings();

}  // namespace data
