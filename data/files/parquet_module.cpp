// What libmoetrain_parquet.so is made of (parquet_module.h).
#include "data/files/parquet_module.h"

#include <arrow/array.h>
#include <arrow/array/array_dict.h>
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
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int64_t kRowsAtOnce = 4096;

using Columns = std::vector<data::ParquetColumn>;

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

bool is_below(const std::string& leaf, const data::ParquetColumn& column) {
  return *column.members != '\0' && leaf.starts_with(std::string(column.name) + ".");
}

/// Whether a leaf is the column, or lies in its structs.
bool belongs(const std::string& leaf, const data::ParquetColumn& column) {
  return leaf == column.name || is_below(leaf, column);
}

/// Of a leaf in a column's structs, whether it is one of the members that are taken, or lies in one.
bool is_taken(const std::string& leaf, const data::ParquetColumn& column) {
  const std::string members = std::string(" ") + column.members + " ";
  const std::vector<std::string> parts = path_parts(leaf.substr(std::string_view(column.name).size() + 1));
  return std::ranges::any_of(
      parts, [&](const std::string& part) { return members.find(" " + part + " ") != std::string::npos; });
}

std::string leaf_name(const parquet::SchemaDescriptor& schema, int leaf) {
  return schema.Column(leaf)->path()->ToDotString();
}

bool is_there(const parquet::SchemaDescriptor& schema, const data::ParquetColumn& column) {
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    if (belongs(leaf_name(schema, leaf), column)) return true;
  }
  return false;
}

/// The numbers of the leaves that a column is made of; none where it is not there.
std::vector<int> leaves_of(const parquet::SchemaDescriptor& schema, const data::ParquetColumn& column) {
  constexpr size_t kMostParts = 16;
  std::vector<int> leaves;
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    const std::string name = leaf_name(schema, leaf);
    if (!belongs(name, column)) continue;
    if (name != column.name && !is_taken(name, column)) continue;
    const auto what = [&] { return "column \"" + name + "\" holds "; };
    const parquet::ColumnDescriptor& found = *schema.Column(leaf);
    if (found.physical_type() != parquet::Type::BYTE_ARRAY) {
      throw ParquetFault{what() + "no text but " + parquet::TypeToString(found.physical_type())};
    }
    if (found.max_repetition_level() > 0 && *column.members == '\0') {
      throw ParquetFault{what() + "lists, and a document has one text"};
    }
    if (path_parts(name).size() > kMostParts) throw ParquetFault{what() + "lists in lists, too many of them"};
    leaves.push_back(leaf);
  }
  if (leaves.empty() && is_there(schema, column)) {
    throw ParquetFault{std::string("column \"") + column.name +
                       "\" holds neither text nor structs with one of the members " + column.members};
  }
  return leaves;
}

/// Of each column the leaves that are read: none of those that are not there, or not chosen.
std::vector<std::vector<int>> leaves_of(const parquet::SchemaDescriptor& schema, const Columns& columns) {
  std::string known, wanted;
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) known += (leaf > 0 ? ", " : "") + leaf_name(schema, leaf);
  int choice = 0;
  for (const data::ParquetColumn& column : columns) {
    if (column.choice == 0) continue;
    wanted += (wanted.empty() ? "\"" : ", \"") + std::string(column.name) + "\"";
    if (is_there(schema, column) && (choice == 0 || column.choice < choice)) choice = column.choice;
  }
  if (choice == 0) throw ParquetFault{"has no column " + wanted + "; it has " + known};
  std::vector<std::vector<int>> leaves(columns.size());
  for (size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].choice == 0 || columns[c].choice == choice) leaves[c] = leaves_of(schema, columns[c]);
  }
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

/// @pre holds_text, and the row is not null
std::string_view text_at(const arrow::Array& array, int64_t row) {
  using arrow::Type;
  switch (array.type_id()) {
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
    case Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return text_at(*coded.dictionary(), coded.GetValueIndex(row));
    }
    default:
      return static_cast<const arrow::BinaryArray&>(array).GetView(row);
  }
}

bool holds_text(const arrow::DataType& type) {
  using arrow::Type;
  if (type.id() == Type::DICTIONARY) return holds_text(*static_cast<const arrow::DictionaryType&>(type).value_type());
  constexpr Type::type kTexts[] = {Type::STRING, Type::BINARY, Type::LARGE_STRING, Type::LARGE_BINARY};
  return std::ranges::find(kTexts, type.id()) != std::end(kTexts);
}

void write_json_text(std::string_view text, std::string& json) {
  json += '"';
  for (const char letter : text) {
    if (static_cast<unsigned char>(letter) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(letter));
      json += code;
      continue;
    }
    if (letter == '"' || letter == '\\') json += '\\';
    json += letter;
  }
  json += '"';
}

void write_json(const arrow::Array& array, int64_t row, std::string& json);

void write_json_list(const arrow::Array& values, int64_t begin, int64_t end, std::string& json) {
  json += '[';
  for (int64_t i = begin; i < end; ++i) {
    if (i > begin) json += ',';
    write_json(values, i, json);
  }
  json += ']';
}

void write_json_struct(const arrow::StructArray& array, int64_t row, std::string& json) {
  json += '{';
  for (int field = 0; field < array.num_fields(); ++field) {
    if (field > 0) json += ',';
    write_json_text(array.struct_type()->field(field)->name(), json);
    json += ':';
    write_json(*array.field(field), row, json);
  }
  json += '}';
}

/// A value of texts, lists and structs. Its depth is bounded by kMostParts.
void write_json(const arrow::Array& array, int64_t row, std::string& json) {
  using arrow::Type;
  if (array.IsNull(row)) {
    json += "null";
  } else if (holds_text(*array.type())) {
    write_json_text(text_at(array, row), json);
  } else if (array.type_id() == Type::STRUCT) {
    write_json_struct(static_cast<const arrow::StructArray&>(array), row, json);
  } else if (array.type_id() == Type::LIST || array.type_id() == Type::MAP) {
    const auto& list = static_cast<const arrow::ListArray&>(array);
    write_json_list(*list.values(), list.value_offset(row), list.value_offset(row + 1), json);
  } else if (array.type_id() == Type::LARGE_LIST) {
    const auto& list = static_cast<const arrow::LargeListArray&>(array);
    write_json_list(*list.values(), list.value_offset(row), list.value_offset(row + 1), json);
  } else if (array.type_id() == Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListArray&>(array);
    write_json_list(*list.values(), list.value_offset(row), list.value_offset(row + 1), json);
  } else {
    throw ParquetFault{"holds " + array.type()->ToString() + " where text, lists and structs are read"};
  }
}

/// Hands on the rows of a batch, which begins at row `first` of the file.
void take_rows(const arrow::RecordBatch& batch, const Columns& columns, const std::vector<std::vector<int>>& leaves,
               int64_t first, data::ParquetRow take, void* sink) {
  std::vector<std::shared_ptr<arrow::Array>> arrays(columns.size());
  std::vector<std::string> json(columns.size());
  std::vector<data::ParquetValue> values(columns.size());
  for (size_t c = 0; c < columns.size(); ++c) {
    if (!leaves[c].empty()) arrays[c] = column_of(batch, path_parts(columns[c].name));
    if (arrays[c] == nullptr) continue;
    values[c].json = !holds_text(*arrays[c]->type());
    if (!values[c].json || *columns[c].members != '\0') continue;
    throw ParquetFault{std::string("column \"") + columns[c].name + "\" holds no text but " +
                       arrays[c]->type()->ToString()};
  }
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    for (size_t c = 0; c < columns.size(); ++c) {
      values[c].text = nullptr;
      if (arrays[c] == nullptr || arrays[c]->IsNull(row)) continue;
      json[c].clear();
      if (values[c].json) write_json(*arrays[c], row, json[c]);
      const std::string_view text = values[c].json ? json[c] : text_at(*arrays[c], row);
      values[c].text = text.data() == nullptr ? "" : text.data();
      values[c].size = static_cast<int64_t>(text.size());
    }
    take(sink, first + row, values.data());
  }
}

void read_group(parquet::arrow::FileReader& reader, int group, const Columns& columns,
                const std::vector<std::vector<int>>& leaves, int64_t first, data::ParquetRow take, void* sink) {
  const int64_t rows = reader.parquet_reader()->metadata()->RowGroup(group)->num_rows();
  int64_t row = first;
  const auto place = [&] {
    return "row group " + std::to_string(group) + " (rows " + std::to_string(first + 1) + " to " +
           std::to_string(first + rows) + "), from row " + std::to_string(row + 1) + " on: ";
  };
  std::set<int> all;
  for (const std::vector<int>& of_column : leaves) all.insert(of_column.begin(), of_column.end());
  const auto batches = value_or_fault(reader.GetRecordBatchReader({group}, {all.begin(), all.end()}), place());
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    const arrow::Status status = batches->ReadNext(&batch);
    if (!status.ok()) throw ParquetFault{place() + status.ToString()};
    if (batch == nullptr) return;
    take_rows(*batch, columns, leaves, row, take, sink);
    row += batch->num_rows();
  }
}

void read_file(const std::string& path, const Columns& columns, data::ParquetRow take, void* sink) {
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
  const std::vector<std::vector<int>> leaves = leaves_of(*metadata.schema(), columns);
  int64_t first = 0;
  for (int group = 0; group < metadata.num_row_groups(); ++group) {
    read_group(*reader, group, columns, leaves, first, take, sink);
    first += metadata.RowGroup(group)->num_rows();
  }
}

}  // namespace

extern "C" bool moetrain_read_parquet(const char* path, const data::ParquetColumn* columns, int64_t count,
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
