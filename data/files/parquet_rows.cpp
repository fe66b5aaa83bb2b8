#include "data/files/parquet_rows.h"

#include <dlfcn.h>

#include <array>
#include <fstream>

#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr std::string_view kParquetMark = "PAR1";

struct LoadedModule {
  ReadParquet read = nullptr;
  std::string fault;  // why it could not be loaded
};

/// Once, and for good.
const LoadedModule& parquet_module() {
  static const LoadedModule loaded = [] {
    LoadedModule result;
    void* file = ::dlopen(kParquetModule, RTLD_NOW | RTLD_LOCAL);
    void* read = file == nullptr ? nullptr : ::dlsym(file, kReadParquet);
    if (read == nullptr) result.fault = ::dlerror();
    result.read = reinterpret_cast<ReadParquet>(read);
    return result;
  }();
  return loaded;
}

}  // namespace

bool is_parquet(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::string begin(kParquetMark.size(), '\0');
  std::ifstream(path, std::ios::binary).read(begin.data(), static_cast<std::streamsize>(begin.size()));
  return begin == kParquetMark;
}

void read_parquet_rows(const std::filesystem::path& path, const std::vector<ParquetColumn>& columns,
                       const std::function<void(int64_t row, const std::vector<MaybeParquetText>& values)>& take) {
  const LoadedModule& loaded = parquet_module();
  if (loaded.read == nullptr) {
    parallel::user_error(path.string(), ": is a Parquet file, and this build reads none (", loaded.fault,
                         "); legal: a build that finds the Python package pyarrow (launch/setup installs it, ",
                         "-DMOETRAIN_ARROW=DIR names its folder), or the texts as JSON lines");
  }
  struct Sink {
    decltype(take) rows;
    std::vector<MaybeParquetText> values;
  } sink{take, std::vector<MaybeParquetText>(columns.size())};
  const auto take_row = [](void* to, int64_t row, const ParquetValue* values) {
    auto& [rows, each] = *static_cast<Sink*>(to);
    for (size_t c = 0; c < each.size(); ++c) {
      each[c].reset();
      if (values[c].text == nullptr) continue;
      each[c] = {{values[c].text, static_cast<size_t>(values[c].size)}, values[c].json};
    }
    rows(row, each);
  };
  std::array<char, 2000> reason{};
  const bool whole = loaded.read(path.c_str(), columns.data(), static_cast<int64_t>(columns.size()), take_row, &sink,
                                 reason.data(), static_cast<int64_t>(reason.size()));
  if (!whole) parallel::user_error(path.string(), ": as a Parquet file: ", reason.data());
}

}  // namespace data
