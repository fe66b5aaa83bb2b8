#include "data/files/parquet_rows.h"

#include <dlfcn.h>

#include <array>
#include <fstream>

#include "data/files/parquet_module.h"
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

void read_parquet_rows(
    const std::filesystem::path& path, const std::vector<std::string>& columns,
    const std::function<void(int64_t row, const std::vector<std::optional<std::string_view>>& values)>& take) {
  const LoadedModule& loaded = parquet_module();
  if (loaded.read == nullptr) {
    parallel::user_error(path.string(), ": is a Parquet file, and this build reads none (", loaded.fault,
                         "); legal: a build that finds the Python package pyarrow (launch/setup installs it, ",
                         "-DMOETRAIN_ARROW=DIR names its folder), or the texts as JSON lines");
  }
  std::vector<const char*> names;
  for (const std::string& column : columns) names.push_back(column.c_str());
  struct Sink {
    decltype(take) rows;
    std::vector<std::optional<std::string_view>> values;
  } sink{take, std::vector<std::optional<std::string_view>>(columns.size())};
  const auto take_row = [](void* to, int64_t row, const char* const* values, const int64_t* sizes) {
    auto& [rows, each] = *static_cast<Sink*>(to);
    for (size_t c = 0; c < each.size(); ++c) {
      each[c].reset();
      if (values[c] != nullptr) each[c].emplace(values[c], static_cast<size_t>(sizes[c]));
    }
    rows(row, each);
  };
  std::array<char, 2000> reason{};
  const bool whole = loaded.read(path.c_str(), names.data(), static_cast<int64_t>(names.size()), take_row, &sink,
                                 reason.data(), static_cast<int64_t>(reason.size()));
  if (!whole) parallel::user_error(path.string(), ": as a Parquet file: ", reason.data());
}

}  // namespace data
