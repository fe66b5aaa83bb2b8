#include <set>

#include "data/sources/parallel_source.h"
#include "tests/data/parallel_support.h"

namespace data_tests {
namespace {

using data::Split;
using data::TokenCorpus;

std::vector<std::string> row_of(const TokenCorpus& corpus, int64_t row) {
  std::vector<std::string> texts;
  for (int64_t group = 0; group < static_cast<int64_t>(corpus.groups().size()); ++group) {
    const int64_t document = corpus.aligned_document(row, group);
    texts.push_back(document < 0 ? "-" : corpus.document_text(document));
  }
  return texts;
}

std::string refusal(const data::PrepareOptions& options) {
  return error_of([&] { data::prepare(options); });
}

TEST(ParallelSource, ReadsPlainAndPackedLinesWithoutWhiteSpaceAround) {
  const TemporaryFolder folder;
  write_file(folder / "a.en", "\xEF\xBB\xBF one two \r\n\tthree\r\n\n\xE2\x80\xA8x\rmore\x0C\nlast");
  gzip_file(folder / "a.de.gz", "eins\nzwei\ndrei\nvier\nletzte\n");
  const auto files = data::read_parallel_set("en=" + (folder / "a.en") + ",de_AT=" + (folder / "a.de.gz"), 1 << 20);
  ASSERT_EQ(files.size(), 2u);
  using Lines = std::vector<std::string_view>;
  EXPECT_EQ(files[0].language, "en");
  EXPECT_EQ(files[0].lines, (Lines{"one two", "three", "", "\xE2\x80\xA8x\rmore", "last"})) << "only \\n ends a line";
  EXPECT_EQ(files[1].language, "de_AT");
  EXPECT_EQ(files[1].lines, (Lines{"eins", "zwei", "drei", "vier", "letzte"}));
}

TEST(ParallelSource, DifferentLineCountsAreRefusedWithTheFirstLineThatIsAlone) {
  const TemporaryFolder folder;
  const std::string set =
      write_set(folder, "a", {{"de", {"1", "2", "3"}}, {"en", {"1", "2"}}, {"fr", {"1", "2", "3"}}});
  const std::string message = error_of([&] { data::read_parallel_set(set, 100); });
  EXPECT_TRUE(says(message, "a.de has 3 lines, ")) << message;
  EXPECT_TRUE(says(message, "a.en has 2 lines, ")) << message;
  EXPECT_TRUE(says(message, "a.fr has 3 lines: line 3 of " + (folder / "a.de") + " has no partner in ")) << message;
  EXPECT_TRUE(says(message, "has no partner in " + (folder / "a.en") + ";")) << message;
}

TEST(ParallelSource, NotUtf8IsRefusedWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string set = write_set(folder, "a", {{"de", {"gut", "gut"}}, {"en", {"fine", "caf\xE9 x"}}});
  const std::string message = error_of([&] { data::read_parallel_set(set, 100); });
  EXPECT_TRUE(says(message, "a.en:2: not UTF-8: byte 0xE9 at offset 3")) << message;
}

TEST(ParallelSource, IllWrittenSetsAreRefused) {
  const TemporaryFolder folder;
  const std::string set = write_set(folder, "a", {{"de", {"x"}}, {"en", {"y"}}});
  const auto message = [&](const std::string& text) { return error_of([&] { data::read_parallel_set(text, 100); }); };
  EXPECT_TRUE(says(message(""), "'' in the parallel set '' is no LANGUAGE=FILE"));
  EXPECT_TRUE(says(message(set + ","), "'' in the parallel set"));
  EXPECT_TRUE(says(message(set + ",fr"), "'fr' in the parallel set"));
  EXPECT_TRUE(says(message(set + ",fr="), "'fr=' in the parallel set"));
  EXPECT_TRUE(says(message("=x,de=y"), "'' in the parallel set '=x,de=y' is no language name"));
  EXPECT_TRUE(says(message("pt-BR=x,de=y"), "'pt-BR' in the parallel set"));
  EXPECT_TRUE(says(message("de=x,de=y"), "has the language 'de' twice"));
  EXPECT_TRUE(says(message("de=x"), "has one language; translations take two"));
  EXPECT_TRUE(says(message("de=" + (folder / "none") + ",en=y"), "none: cannot be read"));
  EXPECT_TRUE(says(error_of([&] { data::read_parallel_set(set, 1); }), "at most 1"));
}

TEST(ParallelSource, ACommaMayBePartOfANameThatExists) {
  const TemporaryFolder folder;
  write_file(folder / "a,b.en", "one\n");
  write_file(folder / "a,fr=x.de", "eins\n");
  const auto files = data::read_parallel_set("en=" + (folder / "a,b.en") + ",de=" + (folder / "a,fr=x.de"), 100);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].lines.at(0), "one");
  EXPECT_EQ(files[1].lines.at(0), "eins");
}

TEST(ParallelSource, JsonIsRefusedByNameAndByContent) {
  const TemporaryFolder folder;
  write_file(folder / "a.de", "eins\n");
  write_file(folder / "a.en", "{\"text\": \"one\"}\n");
  gzip_file(folder / "b.JSONL.gz", "one\n");
  for (const std::string name : {"a.en", "b.JSONL.gz"}) {
    const std::string set = "de=" + (folder / "a.de") + ",en=" + (folder / name);
    EXPECT_TRUE(says(error_of([&] { data::read_parallel_set(set, 100); }), name + ": holds JSON")) << name;
  }
}

/// Two training sets of different languages, validation and test.
data::PrepareOptions library_options(const TemporaryFolder& folder) {
  data::PrepareOptions options = parallel_options(
      folder,
      {write_set(folder, "a", {{"en", {"one", "two", "", "four", " "}}, {"de", {"eins", "zwei", "drei", "", ""}}}),
       write_set(folder, "b",
                 {{"fr", {"un", "", "trois"}}, {"de", {"EINS", "ZWEI", "DREI"}}, {"cs", {"1", "2", ""}}})});
  options.validation = {write_set(folder, "v", {{"en", {"v one", ""}}, {"de", {"v eins", "v zwei"}}})};
  options.test = {write_set(folder, "t", {{"fr", {"t un"}}, {"en", {"t one"}}, {"cs", {"t 1"}}})};
  return options;
}

TEST(PrepareParallel, RowsOfAllSetsComeBack) {
  const TemporaryFolder folder;
  const data::PrepareOptions options = library_options(folder);
  data::prepare(options);
  const TokenCorpus corpus = TokenCorpus::open(options.output);
  EXPECT_EQ(corpus.groups(), (std::vector<std::string>{"cs", "de", "en", "fr"}));
  std::vector<std::vector<std::string>> rows;
  for (int64_t row = 0; row < corpus.aligned_rows(); ++row) rows.push_back(row_of(corpus, row));
  const std::vector<std::vector<std::string>> expected = {{"-", "eins", "one", "-"},   {"-", "zwei", "two", "-"},
                                                          {"1", "EINS", "-", "un"},    {"2", "ZWEI", "-", "-"},
                                                          {"-", "DREI", "-", "trois"}, {"-", "v eins", "v one", "-"},
                                                          {"-", "v zwei", "", "-"},    {"t 1", "-", "t one", "t un"}};
  EXPECT_EQ(rows, expected);
  EXPECT_EQ(corpus.aligned_rows(Split::kTrain), 5);
  EXPECT_EQ(corpus.aligned_rows(Split::kHeldOut), 2);
  EXPECT_EQ(corpus.aligned_rows(Split::kTest), 1);
  EXPECT_EQ(corpus.document(0).name, "train:1");
  EXPECT_EQ(corpus.document(corpus.aligned_document(4, 3)).name, "train2:3");
  EXPECT_EQ(corpus.document(corpus.aligned_document(6, 2)).name, "validation:2");
  EXPECT_EQ(corpus.document(corpus.aligned_document(7, 0)).name, "test:1");
  EXPECT_EQ(corpus.tokenizer().control("<2cs>"), 257);
  EXPECT_EQ(corpus.tokenizer().control("<2fr>"), 260);
}

TEST(PrepareParallel, SummaryCountsRowsSentencesAndWhatWasLeftOut) {
  const TemporaryFolder folder;
  const auto summary = data::prepare(library_options(folder));
  ASSERT_TRUE(summary.aligned.has_value());
  EXPECT_EQ(summary.aligned->train_rows, 5);
  EXPECT_EQ(summary.aligned->heldout_rows, 2);
  EXPECT_EQ(summary.aligned->test_rows, 1);
  EXPECT_EQ(summary.aligned->empty_lines, 6);
  EXPECT_EQ(summary.aligned->short_rows, 3);
  EXPECT_EQ(summary.aligned->empty_kept, 1);
  ASSERT_EQ(summary.groups.size(), 4u);
  EXPECT_EQ(summary.groups[1].name, "de");
  EXPECT_EQ(summary.groups[1].train.documents, 5);
  EXPECT_EQ(summary.groups[1].train.bytes, 20);
  EXPECT_EQ(summary.groups[1].train.tokens, 25) << "one end a sentence";
  EXPECT_EQ(summary.groups[2].heldout.documents, 2);
  EXPECT_EQ(summary.groups[2].heldout.bytes, 5);
  EXPECT_EQ(summary.groups[3].test.documents, 1);
  const std::string text = data::to_text(summary);
  EXPECT_TRUE(says(text, "rows: 5 train, 2 held out, 1 test")) << text;
  EXPECT_TRUE(says(text, "tokens/sentence")) << text;
  EXPECT_TRUE(
      says(text, "  de          train              5            20            20         1.00              4.0"))
      << text;
  EXPECT_TRUE(says(text, "left out of training, empty lines: 6\n")) << text;
  EXPECT_TRUE(says(text, "left out of training, rows with fewer than two sentences: 3\n")) << text;
  EXPECT_TRUE(says(text, "kept in held out and test, empty lines: 1\n")) << text;
  EXPECT_TRUE(summary.notes.empty());
}

TEST(PrepareParallel, LanguagesWithoutTrainingSentencesAreRefused) {
  const TemporaryFolder folder;
  data::PrepareOptions options = parallel_options(
      folder, {write_set(folder, "a", {{"de", {"eins", "zwei"}}, {"en", {"one", "two"}}, {"fr", {"", " "}}})});
  EXPECT_TRUE(says(refusal(options), "the language 'fr' has no training sentences"));
  options = parallel_options(folder, {write_set(folder, "b", {{"de", {"eins"}}, {"en", {"one"}}})});
  options.test = {write_set(folder, "c", {{"de", {"eins"}}, {"cs", {"1"}}})};
  EXPECT_TRUE(says(refusal(options), "the language 'cs' has no training sentences"));
  options = parallel_options(folder, {write_set(folder, "d", {{"de", {}}, {"en", {}}})});
  EXPECT_TRUE(says(refusal(options), "the language 'de' has no training sentences"));
  EXPECT_FALSE(std::filesystem::exists(options.output));
}

TEST(PrepareParallel, DoesNotGoWithPlainText) {
  const TemporaryFolder folder;
  data::PrepareOptions options = library_options(folder);
  options.text = {folder / "*.txt"};
  EXPECT_TRUE(says(refusal(options), "do not go into one file"));
  options.text.clear();
  options.parallel.clear();
  options.man = {folder / "man"};
  EXPECT_TRUE(says(refusal(options), "validation and test sets belong to parallel training sets"));
}

TEST(PrepareParallel, WithoutValidationItIsSaid) {
  const TemporaryFolder folder;
  data::PrepareOptions options = library_options(folder);
  options.validation.clear();
  const auto summary = data::prepare(options);
  ASSERT_EQ(summary.notes.size(), 1u);
  EXPECT_TRUE(says(summary.notes[0], "--validation"));
}

TEST(PrepareParallel, HeldOutRowsThatAreTrainedOnAreSaid) {
  const TemporaryFolder folder;
  data::PrepareOptions options = library_options(folder);
  options.validation = {
      write_set(folder, "v", {{"en", {"Two!", "one", "new", ""}}, {"de", {"ZWEI ", "zwei", "neu", ""}}})};
  const auto summary = data::prepare(options);
  ASSERT_EQ(summary.notes.size(), 1u);
  EXPECT_TRUE(says(summary.notes[0], "1 of 5 rows of --validation and --test are training rows too"))
      << summary.notes[0];
}

/// Sets of sentences with enough text for a vocabulary.
data::PrepareOptions spoken_options(const TemporaryFolder& folder) {
  const auto lines = [](uint64_t seed) {
    std::vector<std::string> all;
    for (uint64_t i = 0; i < 60; ++i) {
      std::string line = sentences(seed + i, 1);
      all.push_back(line.substr(0, line.find('\n') - 1) + " <2en>");
    }
    return all;
  };
  data::PrepareOptions options =
      parallel_options(folder, {write_set(folder, "a", {{"de", lines(100)}, {"en", lines(200)}})});
  options.validation = {write_set(folder, "v", {{"de", {"Ünglaublich Ünglaublich"}}, {"en", {"x"}}})};
  options.tokenizer = "sentencepiece";
  options.vocabulary_size = 350;
  return options;
}

TEST(PrepareParallel, OneVocabularyIsTrainedOnTheTrainingSentencesAlone) {
  const TemporaryFolder folder;
  const data::PrepareOptions options = spoken_options(folder);
  data::prepare(options);
  const TokenCorpus corpus = TokenCorpus::open(options.output);
  std::vector<std::string> train;
  for (int64_t i = 0; i < corpus.documents(); ++i) {
    if (corpus.document(i).split == Split::kTrain) train.push_back(corpus.document_text(i));
  }
  ASSERT_EQ(train.size(), 120u);
  const auto expected =
      data::train_sentencepiece({train.begin(), train.end()}, {.vocabulary_size = 350, .controls = {"<2de>", "<2en>"}});
  EXPECT_EQ(corpus.tokenizer_hash(), data::tokenizer_hash(*expected));
  EXPECT_EQ(corpus.tokenizer().vocabulary_size(), 350) << "tags are among the pieces";
  EXPECT_NE(corpus.tokenizer().control("<2de>"), corpus.tokenizer().control("<2en>"));
}

TEST(PrepareParallel, TwiceGivesTheSameBytesWithAnyNumberOfThreads) {
  const TemporaryFolder folder;
  data::PrepareOptions options = spoken_options(folder);
  std::set<std::string> files;
  for (const int64_t threads : {1, 3}) {
    options.threads = threads;
    options.overwrite = data::Overwrite::kReplace;
    data::prepare(options);
    files.insert(read_file(options.output));
  }
  EXPECT_EQ(files.size(), 1u);
}

TEST(PrepareParallel, NoTextIsReplacedByItsTokens) {
  const TemporaryFolder folder;
  data::PrepareOptions options = spoken_options(folder);
  const std::string set = options.parallel.front();
  options.overwrite = data::Overwrite::kReplace;
  options.output = set.substr(set.rfind('=') + 1);
  const std::string before = read_file(options.output);
  EXPECT_TRUE(says(refusal(options), "choose another name"));
  EXPECT_EQ(read_file(options.output), before);
}

}  // namespace
}  // namespace data_tests
