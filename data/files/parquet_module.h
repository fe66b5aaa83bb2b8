// Parquet is read by the C++ library in Python's pyarrow wheel, of which a module of its own is made: the program
// starts without it, and its symbols meet nobody's. defines: ParquetColumn, ParquetValue, ParquetRow, ReadParquet,
// kParquetModule, kReadParquet
#pragma once
#include <cstdint>

namespace data {

/// A column that is asked for.
struct ParquetColumn {
  const char* name;          // with dots: a path into structs
  const char* members = "";  // which members of structs in lists are taken, with spaces between; none: a text alone
  /// 0: read where it is there. Of the others those of the smallest choice are read that the file has one of; a file
  /// that has none is refused.
  int choice = 0;
};

/// A row's value: UTF-8, no text where there is none; of lists and structs it is written as JSON.
struct ParquetValue {
  const char* text = nullptr;
  int64_t size = 0;
  bool json = false;
};

/// Row `row`, from 0 on: its values, one for each column asked for.
using ParquetRow = void (*)(void* sink, int64_t row, const ParquetValue* values);

/// Rows of `columns`, in their order. False where the file cannot be read, with the reason, of at most `fault_size`
/// bytes, in `fault`. Exceptions of `take` come through.
using ReadParquet = bool (*)(const char* path, const ParquetColumn* columns, int64_t count, ParquetRow take, void* sink,
                             char* fault, int64_t fault_size);

/// The file, looked for where the program's own libraries are, and the function in it.
constexpr const char* kParquetModule = "libmoetrain_parquet.so";
constexpr const char* kReadParquet = "moetrain_read_parquet";

}  // namespace data
