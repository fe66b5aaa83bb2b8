// defines: is_parquet, read_parquet_rows: the rows of a Parquet file
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// Whether it is a file that begins as Parquet files do. A pipe is none: Parquet is read from its end.
bool is_parquet(const std::filesystem::path& path);

/// Calls take(row, values) for each row, from 0 on, with its value of each of `columns`: text, and nothing where file
/// or row lack it. The first column has to be there; "a.b" is the member b of the structs a. A row group at a time is
/// read, a few thousand rows at once. UserError, with the rows, for a file that is damaged or whose columns are no
/// text, and where this build reads no Parquet.
void read_parquet_rows(
    const std::filesystem::path& path, const std::vector<std::string>& columns,
    const std::function<void(int64_t row, const std::vector<std::optional<std::string_view>>& values)>& take);

}  // namespace data
