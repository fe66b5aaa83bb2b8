// What libmoetrain_parquet.so is made of (parquet_module.h).
#include "data/files/parquet_module.h"

#include <arrow/array.h>
#include <arrow/io/file.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/schema.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int64_t kRowsAtOnce = 4096;

struct ParquetFault {
  std::string reason;
};

template <class Value>
Value value_or_fault(arrow::Result<Value> result, const std::string& place) {
  if (!result.ok()) throw ParquetFault{place + result.status().ToString()};
  return std::move(result).ValueUnsafe();
}

std::vector<std::string> path_parts(const std::string& name) {
  std::vector<std::string> parts;
  std::istringstream words(name);
  for (std::string part; std::getline(words, part, '.');) parts.push_back(part);
  return parts;
}

/// The leaves' numbers of the columns that are there, -1 for the others.
std::vector<int> leaves_of(const parquet::SchemaDescriptor& schema, const std::vector<std::string>& columns) {
  std::vector<int> leaves;
  std::string known;
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    known += (leaf > 0 ? ", " : "") + schema.Column(leaf)->path()->ToDotString();
  }
  for (const std::string& column : columns) {
    int found = -1;
    for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
      if (schema.Column(leaf)->path()->ToDotString() == column) found = leaf;
    }
    if (found >= 0 && schema.Column(found)->physical_type() != parquet::Type::BYTE_ARRAY) {
      throw ParquetFault{"column \"" + column + "\" holds no text but " +
                         parquet::TypeToString(schema.Column(found)->physical_type())};
    }
    if (found >= 0 && schema.Column(found)->max_repetition_level() > 0) {
      throw ParquetFault{"column \"" + column + "\" holds lists, and a document has one text"};
    }
    leaves.push_back(found);
  }
  if (leaves.front() < 0) throw ParquetFault{"has no column \"" + columns.front() + "\"; it has " + known};
  return leaves;
}

/// The column of a batch that a path means, without the structs around it; null where the batch lacks it.
std::shared_ptr<arrow::Array> column_of(const arrow::RecordBatch& batch, const std::vector<std::string>& path) {
  std::shared_ptr<arrow::Array> array = batch.GetColumnByName(path.front());
  for (size_t i = 1; array != nullptr && i < path.size(); ++i) {
    const auto& outer = static_cast<const arrow::StructArray&>(*array);
    const int field = outer.struct_type()->GetFieldIndex(path[i]);
    array = field < 0 ? nullptr : value_or_fault(outer.GetFlattenedField(field), "");
  }
  return array;
}

std::string_view text_at(const arrow::Array& array, int64_t row) {
  if (array.type_id() == arrow::Type::LARGE_STRING || array.type_id() == arrow::Type::LARGE_BINARY) {
    return static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
  }
  return static_cast<const arrow::BinaryArray&>(array).GetView(row);
}

void require_text(const arrow::Array& array, const std::string& column) {
  using arrow::Type;
  for (const Type::type legal : {Type::STRING, Type::BINARY, Type::LARGE_STRING, Type::LARGE_BINARY}) {
    if (array.type_id() == legal) return;
  }
  throw ParquetFault{"column \"" + column + "\" holds no text but " + array.type()->ToString()};
}

/// Hands on the rows of a batch, which begins at row `first` of the file.
void take_rows(const arrow::RecordBatch& batch, const std::vector<std::string>& columns, int64_t first,
               data::ParquetRow take, void* sink) {
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  for (const std::string& column : columns) {
    arrays.push_back(column_of(batch, path_parts(column)));
    if (arrays.back() != nullptr) require_text(*arrays.back(), column);
  }
  std::vector<const char*> values(columns.size());
  std::vector<int64_t> sizes(columns.size());
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    for (size_t c = 0; c < columns.size(); ++c) {
      values[c] = nullptr;
      if (arrays[c] == nullptr || arrays[c]->IsNull(row)) continue;
      const std::string_view text = text_at(*arrays[c], row);
      values[c] = text.data() == nullptr ? "" : text.data();
      sizes[c] = static_cast<int64_t>(text.size());
    }
    take(sink, first + row, values.data(), sizes.data());
  }
}

void read_group(parquet::arrow::FileReader& reader, int group, const std::vector<int>& leaves,
                const std::vector<std::string>& columns, int64_t first, data::ParquetRow take, void* sink) {
  const int64_t rows = reader.parquet_reader()->metadata()->RowGroup(group)->num_rows();
  int64_t row = first;
  const auto place = [&] {
    return "row group " + std::to_string(group) + " (rows " + std::to_string(first + 1) + " to " +
           std::to_string(first + rows) + "), from row " + std::to_string(row + 1) + " on: ";
  };
  const auto batches = value_or_fault(reader.GetRecordBatchReader({group}, leaves), place());
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    const arrow::Status status = batches->ReadNext(&batch);
    if (!status.ok()) throw ParquetFault{place() + status.ToString()};
    if (batch == nullptr) return;
    take_rows(*batch, columns, row, take, sink);
    row += batch->num_rows();
  }
}

void read_file(const std::string& path, const std::vector<std::string>& columns, data::ParquetRow take, void* sink) {
  parquet::arrow::FileReaderBuilder builder;
  parquet::ReaderProperties properties;
  properties.enable_buffered_stream();  // not a whole column of a row group at once
  properties.set_page_checksum_verification(true);
  const auto file = value_or_fault(arrow::io::ReadableFile::Open(path), "");
  const arrow::Status opened = builder.Open(file, properties);
  if (!opened.ok()) throw ParquetFault{opened.ToString()};
  parquet::ArrowReaderProperties arrow_properties;
  arrow_properties.set_batch_size(kRowsAtOnce);
  arrow_properties.set_use_threads(false);
  arrow_properties.set_pre_buffer(false);
  builder.properties(arrow_properties);
  const std::unique_ptr<parquet::arrow::FileReader> reader = value_or_fault(builder.Build(), "");
  const parquet::FileMetaData& metadata = *reader->parquet_reader()->metadata();
  std::vector<int> leaves = leaves_of(*metadata.schema(), columns);
  std::erase(leaves, -1);
  int64_t first = 0;
  for (int group = 0; group < metadata.num_row_groups(); ++group) {
    read_group(*reader, group, leaves, columns, first, take, sink);
    first += metadata.RowGroup(group)->num_rows();
  }
}

}  // namespace

extern "C" bool moetrain_read_parquet(const char* path, const char* const* columns, int64_t count,
                                      data::ParquetRow take, void* sink, char* fault, int64_t fault_size) {
  std::string reason;
  try {
    read_file(path, {columns, columns + count}, take, sink);
    return true;
  } catch (const ParquetFault& found) {
    reason = found.reason;
  } catch (const parquet::ParquetException& found) {
    reason = found.what();
  }
  std::snprintf(fault, static_cast<size_t>(fault_size), "%s", reason.c_str());
  return false;
}
