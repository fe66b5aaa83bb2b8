// defines: ParallelRow, ParallelRows, gather_parallel_rows
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/datasets/split.h"
#include "data/prepare/prepare.h"
#include "data/sources/parallel_source.h"

namespace data {

struct ParallelRow {
  std::string name;  // "train:17", a line of the first set; "train2:17" of the second
  Split split = Split::kTrain;
  int64_t end = 0;  // its sentences end here; they begin where those of the row before end
};

/// All sentences that a token file will hold, row by row.
struct ParallelRows {
  std::vector<ParallelFile> files;     // keeps the sentences' bytes
  std::vector<std::string> languages;  // sorted
  std::vector<ParallelRow> rows;
  std::vector<std::string_view> sentences;
  std::vector<int32_t> language;  // [sentences], index into languages
};

/// Reads all sets of the options. In training an empty line counts as a language that the row lacks, and a row with
/// fewer than two sentences is left out; held out and test stay as they are. UserError as read_parallel_set, and for a
/// language without training sentences.
ParallelRows gather_parallel_rows(const PrepareOptions& options, AlignedSummary& summary);

}  // namespace data
