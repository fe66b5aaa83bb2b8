// Parquet is read by the C++ library in Python's pyarrow wheel, of which a module of its own is made: the program
// starts without it, and its symbols meet nobody's. defines: ParquetColumns, ParquetRow, ReadParquet, kParquetModule,
// kReadParquet
#pragma once
#include <cstdint>

namespace data {

/// Row `row`, from 0 on: its values, one for each column asked for, as UTF-8; null where the file or the row has none.
using ParquetRow = void (*)(void* sink, int64_t row, const char* const* values, const int64_t* sizes);

/// Rows of `columns`, the first of which has to be there, in their order; a name with dots is a path into structs.
/// False where the file cannot be read, with the reason, of at most `fault_size` bytes, in `fault`. Exceptions of
/// `take` come through.
using ReadParquet = bool (*)(const char* path, const char* const* columns, int64_t count, ParquetRow take, void* sink,
                             char* fault, int64_t fault_size);

/// The file, looked for where the program's own libraries are, and the function in it.
constexpr const char* kParquetModule = "libmoetrain_parquet.so";
constexpr const char* kReadParquet = "moetrain_read_parquet";

}  // namespace data
