// defines: is_parquet, ParquetText, MaybeParquetText, read_parquet_rows: the rows of a Parquet file
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "data/files/parquet_module.h"

namespace data {

/// A row's value of a column. Of lists and structs it is JSON.
struct ParquetText {
  std::string_view text;
  bool json = false;
};
using MaybeParquetText = std::optional<ParquetText>;

/// Whether it is a file that begins as Parquet files do. A pipe is none: Parquet is read from its end.
bool is_parquet(const std::filesystem::path& path);

/// Calls take(row, values) for each row, from 0 on, with its value of each of `columns`: text, and no value where file
/// or row lack it or the column is not chosen. A row group at a time is read, a few thousand rows at once. UserError,
/// with the rows, for a file that is damaged, whose columns hold neither text nor what they may hold, that has none of
/// the columns that are a choice, and where this build reads no Parquet.
void read_parquet_rows(const std::filesystem::path& path, const std::vector<ParquetColumn>& columns,
                       const std::function<void(int64_t row, const std::vector<MaybeParquetText>& values)>& take);

}  // namespace data
