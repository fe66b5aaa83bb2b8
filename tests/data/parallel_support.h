// defines: says, joined_lines, Languages, write_set, parallel_options, TextRow, corpus_of_rows
#pragma once
#include <map>
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/prepare/prepare.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/control_pieces.h"
#include "tests/data/support.h"

namespace data_tests {

inline bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline std::string joined_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

using Languages = std::map<std::string, std::vector<std::string>>;  // language -> its lines

/// Writes folder/STEM.LANGUAGE for each language, and gives back the set as `prepare` takes it.
inline std::string write_set(const TemporaryFolder& folder, const std::string& stem, const Languages& languages) {
  std::string set;
  for (const auto& [language, lines] : languages) {
    const std::string path = folder / (stem + "." + language);
    write_file(path, joined_lines(lines));
    set += (set.empty() ? "" : ",") + language + "=" + path;
  }
  return set;
}

/// Byte tokens of parallel sets, into folder/out.h5.
inline data::PrepareOptions parallel_options(const TemporaryFolder& folder, const std::vector<std::string>& sets) {
  data::PrepareOptions options;
  options.parallel = sets;
  options.output = folder / "out.h5";
  options.tokenizer = "byte";
  return options;
}

/// One row of translations: for each group its text, or no entry.
struct TextRow {
  data::Split split = data::Split::kTrain;
  std::map<int32_t, std::string> texts;
};

/// A token file of these rows with byte tokens, opened.
inline data::TokenCorpus corpus_of_rows(const std::vector<std::string>& groups, const std::vector<TextRow>& rows) {
  const TemporaryFolder folder;
  std::vector<std::string> tags;
  for (const std::string& group : groups) tags.push_back(data::language_tag(group));
  const auto tokenizer = data::make_byte_tokenizer(tags);
  data::TokenCorpusWriter writer(folder / "rows.h5", tokenizer, groups);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<int64_t> aligned(groups.size(), -1);
    for (const auto& [group, text] : rows[r].texts) {
      const auto bytes = static_cast<int64_t>(text.size());
      aligned[static_cast<size_t>(group)] =
          writer.add({"row " + std::to_string(r), group, rows[r].split, bytes, 0}, tokenizer->encode(text));
    }
    writer.align(aligned);
  }
  writer.finish();
  return data::TokenCorpus::open(folder / "rows.h5");
}

}  // namespace data_tests
