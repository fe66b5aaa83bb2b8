#include "data/sources/near_copies.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "data/prepare/prepare.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

TEST(NearCopies, WordsAreLettersAndDigits) {
  const std::string plain = data::words_of("It costs 3 euros. Größe?");
  EXPECT_EQ(plain, "itcosts3eurosgröße");
  for (const char* same :
       {"It costs 3 euros. Größe?\n", "\xEF\xBB\xBFIt costs\r\n3 euros.\tGröße?", "it COSTS 3 euros - Größe",
        "It\xC2\xA0 costs 3 euros\xE2\x80\xA6 \xE2\x80\x9CGröße\xE2\x80\x9D"}) {
    EXPECT_EQ(data::words_of(same), plain) << same;
  }
  EXPECT_NE(data::words_of("It costs 4 euros. Größe?"), plain);
  EXPECT_NE(data::words_of("a = b + c;"), data::words_of("a = b + d;"));
  EXPECT_EQ(data::words_of(" { }\n"), "{}") << "of marks alone, the marks";
  EXPECT_EQ(data::words_of(""), "");
}

TEST(NearCopies, KeysThatShareWordsAreJoinedInAnyOrder) {
  std::vector<data::SourceDocument> documents = {{"a", "a", "ls.1", "en", "One text."},
                                                 {"b", "b", "dir.1", "de", "ein Text"},
                                                 {"c", "c", "dir.1", "en", "one  text\n"},
                                                 {"d", "d", "x.1", "en", "another"}};
  std::vector<data::SourceDocument> reversed(documents.rbegin(), documents.rend());
  EXPECT_EQ(data::join_near_copies(documents), 1);
  EXPECT_EQ(data::join_near_copies(reversed), 1);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(documents[i].key, "dir.1") << i;
  EXPECT_EQ(documents[3].key, "x.1");
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(documents[i].key, reversed[3 - i].key);
}

TEST(NearCopies, LieInOneSplitFromWhateverFilesTheyCome) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    const std::string text = parallel::concat("Document number ", i, ". It has ", i * i, " words.");
    lines += "{\"text\": \"" + text + "\"}\n{\"text\": \"" + text + "\\r\\n\"}\n";
    write_file(folder / parallel::concat("t/", i, ".txt"), text + "\n");
    gzip_file(folder / parallel::concat("t/", i, ".txt.gz"), "  " + text);
  }
  write_file(folder / "t/all.jsonl", lines);
  data::PrepareOptions options;
  options.text = {folder / "t/*"};
  options.output = folder / "out.h5";
  options.tokenizer = "byte";
  options.heldout = 0.2;
  const auto summary = data::prepare(options);
  EXPECT_EQ(summary.near_copies, 120);
  EXPECT_NE(data::to_text(summary).find("kept together: 120 documents"), std::string::npos);
  const auto corpus = data::TokenCorpus::open(options.output);
  std::map<std::string, std::set<data::Split>> splits;
  std::set<data::Split> seen;
  for (int64_t i = 0; i < corpus.documents(); ++i) {
    splits[data::words_of(corpus.document_text(i))].insert(corpus.document(i).split);
    seen.insert(corpus.document(i).split);
  }
  EXPECT_EQ(splits.size(), 40u);
  EXPECT_EQ(seen.size(), 2u);
  for (const auto& [words, found] : splits) EXPECT_EQ(found.size(), 1u) << words;
}

}  // namespace
}  // namespace data_tests
