// defines: DataConfig, visit
#pragma once
#include <cstdint>
#include <string>

#include "parallel/base/field.h"

namespace data {

struct DataConfig {
  std::string file;
  int64_t sequence_length = 128;
};

template <class Visitor>
void visit(DataConfig& config, Visitor& field) {
  using namespace parallel;
  field("file", config.file, anything(), "token file written by `moetrain prepare`");
  field("sequence_length", config.sequence_length, between(1, 1 << 20), "tokens of one sequence");
}

}  // namespace data
