#include "data/prepare/parallel_rows.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "data/datasets/alignment.h"
#include "data/files/file_bytes.h"
#include "data/prepare/encoding.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

struct ParallelSet {
  Split split = Split::kTrain;
  std::string name;  // of its rows
  std::vector<ParallelFile> files;
};

void read_sets(const PrepareOptions& options, const std::vector<std::string>& specs, const ParallelSet& like,
               std::vector<ParallelSet>& sets) {
  for (size_t i = 0; i < specs.size(); ++i) {
    report_phase(options, "Reading " + specs[i] + ".");
    const std::string name = like.name + (i > 0 ? std::to_string(i + 1) : "");
    sets.push_back({like.split, name, read_parallel_set(specs[i], options.most_file_bytes)});
    for (const ParallelFile& file : sets.back().files) require_apart(options.output, file.path);
    std::sort(sets.back().files.begin(), sets.back().files.end(),
              [](const ParallelFile& a, const ParallelFile& b) { return a.language < b.language; });
  }
}

std::map<std::string, int32_t> number_languages(const std::vector<ParallelSet>& sets) {
  std::map<std::string, int32_t> index;
  for (const ParallelSet& set : sets) {
    for (const ParallelFile& file : set.files) index.emplace(file.language, 0);
  }
  if (static_cast<int64_t>(index.size()) > kMostAlignedGroups) {
    parallel::user_error("the parallel sets have ", index.size(), " languages; at most ", kMostAlignedGroups,
                         " are legal");
  }
  int32_t next = 0;
  for (auto& [language, number] : index) number = next++;
  return index;
}

/// Appends line `line` of a set as a row, unless it is left out.
void add_row(const ParallelSet& set, size_t line, const std::vector<int32_t>& language, ParallelRows& all,
             AlignedSummary& summary) {
  const bool trains = set.split == Split::kTrain;
  const auto empty = std::count_if(set.files.begin(), set.files.end(),
                                   [line](const ParallelFile& file) { return file.lines[line].empty(); });
  (trains ? summary.empty_lines : summary.empty_kept) += empty;
  if (trains && static_cast<int64_t>(set.files.size()) - empty < 2) {
    ++summary.short_rows;
    return;
  }
  for (size_t f = 0; f < set.files.size(); ++f) {
    if (trains && set.files[f].lines[line].empty()) continue;
    all.sentences.push_back(set.files[f].lines[line]);
    all.language.push_back(language[f]);
  }
  all.rows.push_back(
      {parallel::concat(set.name, ":", line + 1), set.split, static_cast<int64_t>(all.sentences.size())});
  int64_t* const rows[] = {&summary.train_rows, &summary.heldout_rows, &summary.test_rows};
  ++*rows[static_cast<int>(set.split)];
}

void require_training_sentences(const ParallelRows& all) {
  std::vector<bool> trained(all.languages.size(), false);
  size_t sentence = 0;
  for (const ParallelRow& row : all.rows) {
    for (; sentence < static_cast<size_t>(row.end); ++sentence) {
      if (row.split == Split::kTrain) trained[static_cast<size_t>(all.language[sentence])] = true;
    }
  }
  for (size_t i = 0; i < trained.size(); ++i) {
    if (trained[i]) continue;
    parallel::user_error("the language '", all.languages[i], "' has no training sentences: no set of --parallel has a ",
                         "line of it that is not empty and has a translation");
  }
}

}  // namespace

ParallelRows gather_parallel_rows(const PrepareOptions& options, AlignedSummary& summary) {
  std::vector<ParallelSet> sets;
  read_sets(options, options.parallel, {Split::kTrain, "train", {}}, sets);
  read_sets(options, options.validation, {Split::kHeldOut, "validation", {}}, sets);
  read_sets(options, options.test, {Split::kTest, "test", {}}, sets);
  ParallelRows all;
  const std::map<std::string, int32_t> index = number_languages(sets);
  for (const auto& [language, number] : index) all.languages.push_back(language);
  for (ParallelSet& set : sets) {
    std::vector<int32_t> language;
    for (const ParallelFile& file : set.files) language.push_back(index.at(file.language));
    for (size_t line = 0; line < set.files.front().lines.size(); ++line) add_row(set, line, language, all, summary);
    all.files.insert(all.files.end(), std::make_move_iterator(set.files.begin()),
                     std::make_move_iterator(set.files.end()));
  }
  require_training_sentences(all);
  return all;
}

}  // namespace data
