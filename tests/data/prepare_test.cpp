#include "data/prepare/prepare.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/files/file_bytes.h"
#include "data/sources/child_process.h"
#include "data/sources/glob.h"
#include "data/sources/text_source.h"
#include "data/sources/workers.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::PrepareOptions;
using data::Split;
using data::TokenCorpus;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Byte tokens of the given patterns, into folder/out.h5.
PrepareOptions options_for(const TemporaryFolder& folder, const std::vector<std::string>& patterns) {
  PrepareOptions options;
  for (const std::string& pattern : patterns) options.text.push_back(folder / pattern);
  options.output = folder / "out.h5";
  options.tokenizer = "byte";
  return options;
}

std::set<std::string> texts_of(const std::string& path) {
  const TokenCorpus corpus = TokenCorpus::open(path);
  std::set<std::string> texts;
  for (int64_t i = 0; i < corpus.documents(); ++i) texts.insert(corpus.document_text(i));
  return texts;
}

TEST(Glob, ExpandsStarsOverFoldersSorted) {
  const TemporaryFolder folder;
  for (const std::string name : {"b.txt", "a.txt", "d/c.txt", "d/e/f.txt", "d/e/g.md", ".hidden/x.txt", "d/.h.txt"}) {
    write_file(folder / name, "x");
  }
  const auto expand = [&](const std::string& pattern) {
    std::vector<std::string> names;
    for (const auto& path : data::expand_glob(folder / pattern)) {
      names.push_back(std::filesystem::relative(path, folder.path()).string());
    }
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(expand("*.txt"), (Names{"a.txt", "b.txt"}));
  EXPECT_EQ(expand("**/*.txt"), (Names{"a.txt", "b.txt", "d/c.txt", "d/e/f.txt"}));
  EXPECT_EQ(expand("d/**/[fg].*"), (Names{"d/e/f.txt", "d/e/g.md"}));
  EXPECT_EQ(expand("**/e/?.md"), (Names{"d/e/g.md"}));
  EXPECT_EQ(expand("d/**"), (Names{"d/c.txt", "d/e/f.txt", "d/e/g.md"}));
  EXPECT_EQ(expand("a.txt"), (Names{"a.txt"}));
}

TEST(Glob, MatchlessPatternsAndFoldersAreRefused) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(error_of([&] { data::expand_glob(folder / "*.txt"); }), "no file matches"));
  EXPECT_TRUE(contains(error_of([&] { data::expand_glob(folder / "a.txt"); }), "there is no file"));
  EXPECT_TRUE(contains(error_of([&] { data::expand_glob(folder.path()); }), "is a folder"));
  EXPECT_TRUE(contains(error_of([&] { data::expand_glob(""); }), "there is no file"));
}

TEST(Glob, LoopsOfLinksEnd) {
  const TemporaryFolder folder;
  write_file(folder / "a/x.txt", "x");
  std::filesystem::create_directory_symlink(folder.path(), folder / "a/loop");
  EXPECT_EQ(data::expand_glob(folder / "**/*.txt").size(), 1u);
}

TEST(TextSource, ReadsPlainPackedAndJsonLines) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "\xEF\xBB\xBFgrün\r\n");
  gzip_file(folder / "b.txt.gz", "packed");
  write_file(folder / "c.jsonl", "{\"text\": \"eins\\n\", \"language\": \"de\"}\n\n{\"text\": \"two\", \"id\": 7}\r\n");
  gzip_file(folder / "d.json.gz", "{\"text\": \"trois\", \"language\": \"fr\"}");
  PrepareOptions options = options_for(folder, {"*"});
  options.language = "misc";
  const auto summary = data::prepare(options);
  EXPECT_EQ(texts_of(options.output), (std::set<std::string>{"grün\r\n", "packed", "eins\n", "two", "trois"}));
  EXPECT_EQ(TokenCorpus::open(options.output).groups(), (std::vector<std::string>{"de", "fr", "misc"}));
  ASSERT_EQ(summary.groups.size(), 3u);
  EXPECT_EQ(summary.groups[2].train.documents + summary.groups[2].heldout.documents, 3);
}

TEST(TextSource, NotUtf8IsRefusedWithFileOffsetAndByte) {
  const TemporaryFolder folder;
  const auto message_for = [&](const std::string& bytes) {
    write_file(folder / "bad.txt", bytes);
    return error_of([&] { data::prepare(options_for(folder, {"bad.txt"})); });
  };
  EXPECT_TRUE(contains(message_for("caf\xE9 au lait"), "bad.txt: not UTF-8: byte 0xE9 at offset 3"));
  EXPECT_TRUE(contains(message_for("ok \xED\xA0\x80"), "byte 0xED at offset 3 (half of a surrogate"));
  EXPECT_TRUE(contains(message_for("\xC0\xAF"), "byte 0xC0 at offset 0"));
  EXPECT_TRUE(contains(message_for(std::string("cut \xE2\x82")), "byte 0xE2 at offset 4"));
  gzip_file(folder / "bad.txt.gz", "12345\xFF");
  EXPECT_TRUE(contains(error_of([&] { data::prepare(options_for(folder, {"bad.txt.gz"})); }),
                       "byte 0xFF at offset 5 (never starts a character) of the unpacked text"));
  EXPECT_FALSE(std::filesystem::exists(folder / "out.h5"));
}

TEST(TextSource, BadJsonLinesAreRefusedWithTheirNumber) {
  const TemporaryFolder folder;
  const auto message_for = [&](const std::string& line) {
    write_file(folder / "x.jsonl", "{\"text\": \"fine\"}\n" + line + "\n");
    return error_of([&] { data::read_text_file(folder / "x.jsonl", {}); });
  };
  EXPECT_TRUE(contains(message_for("{\"text\": "), "x.jsonl:2: not a JSON object"));
  EXPECT_TRUE(contains(message_for("[1]"), "x.jsonl:2: not a JSON object"));
  EXPECT_TRUE(contains(message_for("{\"body\": \"x\"}"), "x.jsonl:2: the object has no \"text\""));
  EXPECT_TRUE(contains(message_for("{\"text\": 3}"), "\"text\" is number"));
  EXPECT_TRUE(contains(message_for("{\"text\": \"x\", \"language\": \"\"}"), "\"language\" is empty"));
  EXPECT_TRUE(contains(message_for("{\"text\": \"\\ud800\"}"), "x.jsonl:2: column 17: half of a surrogate pair"));
  EXPECT_TRUE(contains(message_for("{\"text\": \"x\", \"n\": 1e999}"), "x.jsonl:2: column 20: a number out of range"));
  EXPECT_TRUE(contains(message_for("{\"text\": \"x\", \"n\": NaN}"), "x.jsonl:2: not a JSON object: column 20"));
  EXPECT_TRUE(contains(message_for(std::string(200000, '[')), "x.jsonl:2: not a JSON object")) << "deep nesting";
}

TEST(TextSource, DamagedAndExplosiveGzipFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string text = sentences(1, 300);
  gzip_file(folder / "good.gz", text);
  const std::string good = read_file(folder / "good.gz");
  const auto message_for = [&](const std::string& bytes, int64_t most = 1 << 30) {
    write_file(folder / "bad.gz", bytes);
    return error_of([&] { data::read_bytes(folder / "bad.gz", most); });
  };
  EXPECT_TRUE(contains(message_for(good.substr(0, good.size() - 9)), "truncated"));
  EXPECT_TRUE(contains(message_for("plain text"), "not a gzip file, or damaged"));
  EXPECT_TRUE(contains(message_for(good + "tail"), "not a gzip file, or damaged"));
  EXPECT_TRUE(contains(message_for(""), "empty"));
  EXPECT_TRUE(contains(message_for(good, static_cast<int64_t>(good.size())), "unpacks to more than"));
  EXPECT_TRUE(contains(message_for(good, 5), "at most 5"));
  gzip_file(folder / "bomb.gz", std::string(64 << 20, 'a'));
  EXPECT_TRUE(contains(error_of([&] { data::read_bytes(folder / "bomb.gz", 1 << 30); }), "200 times"));
  write_file(folder / "two.gz", good + good);
  EXPECT_EQ(data::read_bytes(folder / "two.gz", 1 << 30), text + text) << "several members follow each other";
}

TEST(Prepare, EmptyCorporaAndEmptySourcesAreRefused) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "");
  write_file(folder / "b.txt", " \n\t ");
  EXPECT_TRUE(contains(error_of([&] { data::prepare(options_for(folder, {"*.txt"})); }), "no text at all (2 empty"));
  EXPECT_TRUE(contains(error_of([&] { data::prepare(options_for(folder, {})); }), "nothing to prepare"));
  PrepareOptions options = options_for(folder, {"*.txt"});
  options.tokenizer = "bpe";
  EXPECT_TRUE(contains(error_of([&] { data::prepare(options); }), "known: byte, sentencepiece"));
}

TEST(Prepare, CopiesAndEmptyDocumentsAreLeftOutAndCounted) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "same");
  write_file(folder / "b.txt", "same");
  write_file(folder / "c.txt", "other");
  write_file(folder / "d.txt", "\n");
  const auto summary = data::prepare(options_for(folder, {"*.txt", "a.txt"}));
  EXPECT_EQ(summary.duplicates, 1);
  EXPECT_EQ(summary.empty, 1);
  EXPECT_EQ(texts_of(folder / "out.h5"), (std::set<std::string>{"same", "other"}));
}

TEST(Prepare, ExistingOutputIsRefusedBeforeAnyWork) {
  const TemporaryFolder folder;
  write_file(folder / "out.h5", "precious");
  PrepareOptions options = options_for(folder, {"missing.txt"});
  EXPECT_TRUE(contains(error_of([&] { data::prepare(options); }), "exists already"));
  EXPECT_EQ(read_file(folder / "out.h5"), "precious");
}

TEST(Prepare, NoTextIsReplacedByItsTokens) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "precious");
  std::filesystem::create_symlink(folder / "a.txt", folder / "link");
  for (const char* output : {"a.txt", "link"}) {
    PrepareOptions options = options_for(folder, {"*.txt"});
    options.overwrite = data::Overwrite::kReplace;
    options.output = folder / output;
    EXPECT_TRUE(contains(error_of([&] { data::prepare(options); }), "choose another name")) << output;
  }
  EXPECT_EQ(read_file(folder / "a.txt"), "precious");
}

/// Forty files of sentences in two languages.
void write_library(const TemporaryFolder& folder) {
  for (uint64_t i = 0; i < 40; ++i) {
    write_file(
        folder / ("lib/" + std::to_string(i) + ".jsonl"), "{\"language\": \"" + std::string(i % 2 ? "en" : "de") +
                                                              "\", \"text\": \"" +
                                                              [&] {
                                                                std::string text = sentences(100 + i, 10);
                                                                std::replace(text.begin(), text.end(), '\n', ' ');
                                                                return text;
                                                              }() +
                                                              "\"}\n");
  }
}

TEST(Prepare, TwiceGivesTheSameBytesWithAnyNumberOfThreads) {
  const TemporaryFolder folder;
  write_library(folder);
  std::vector<std::string> files;
  for (const int64_t threads : {1, 3}) {
    PrepareOptions options = options_for(folder, {"lib/*.jsonl"});
    options.output = folder / ("out" + std::to_string(threads) + ".h5");
    options.tokenizer = "sentencepiece";
    options.vocabulary_size = 350;
    options.threads = threads;
    options.heldout = 0.3;
    data::prepare(options);
    files.push_back(read_file(options.output));
  }
  EXPECT_EQ(files[0], files[1]);
}

TEST(Prepare, TheSameTextsInAnotherFolderGiveTheSameCorpus) {
  const TemporaryFolder here, elsewhere;
  std::vector<TokenCorpus> corpora;
  for (const TemporaryFolder* folder : {&here, &elsewhere}) {
    write_library(*folder);
    for (uint64_t i = 0; i < 20; ++i) write_file(*folder / parallel::concat("lib/", i, ".txt"), sentences(500 + i, 5));
    PrepareOptions options = options_for(*folder, {"lib/*"});
    options.heldout = 0.3;
    data::prepare(options);
    corpora.push_back(TokenCorpus::open(options.output));
  }
  ASSERT_EQ(corpora[0].documents(), 60);
  ASSERT_EQ(corpora[1].documents(), 60);
  std::map<std::string, std::set<Split>> splits;
  for (int64_t i = 0; i < 60; ++i) {
    const data::DocumentInfo document = corpora[0].document(i);
    EXPECT_EQ(corpora[0].document_text(i), corpora[1].document_text(i));
    EXPECT_EQ(document.split, corpora[1].document(i).split);
    splits[std::filesystem::path(document.name).extension().string().substr(0, 4)].insert(document.split);
  }
  ASSERT_EQ(splits.size(), 2u);
  for (const auto& [kind, found] : splits) EXPECT_EQ(found.size(), 2u) << kind;
  EXPECT_EQ(corpora[0].fingerprint(), corpora[1].fingerprint());
}

TEST(Prepare, SummaryCountsWhatTheFileHolds) {
  const TemporaryFolder folder;
  write_library(folder);
  PrepareOptions options = options_for(folder, {"lib/*.jsonl"});
  options.heldout = 0.25;
  std::vector<std::string> phases;
  options.progress = [&](const std::string& sentence) { phases.push_back(sentence); };
  const auto summary = data::prepare(options);
  const TokenCorpus corpus = TokenCorpus::open(options.output);
  ASSERT_EQ(summary.groups.size(), 2u);
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    const data::TokenStream stream = corpus.stream(split);
    int64_t documents = 0;
    for (size_t g = 0; g < 2; ++g) {
      const auto& part = split == Split::kTrain ? summary.groups[g].train : summary.groups[g].heldout;
      EXPECT_EQ(part.bytes, stream.bytes_of_group(static_cast<int64_t>(g)));
      EXPECT_EQ(part.tokens, stream.targets_of_group(static_cast<int64_t>(g)));
      EXPECT_GT(part.documents, 0);
      documents += part.documents;
    }
    EXPECT_EQ(documents, stream.documents());
  }
  EXPECT_EQ(summary.tokenizer_hash, corpus.tokenizer_hash());
  const std::string text = data::to_text(summary);
  EXPECT_TRUE(contains(text, "held out")) << text;
  EXPECT_TRUE(contains(text, std::to_string(summary.groups[0].train.bytes))) << text;
  EXPECT_EQ(phases.size(), 2u);
}

TEST(Prepare, VocabularyIsTrainedOnTheTrainingSplitOnly) {
  const TemporaryFolder folder;
  write_library(folder);
  PrepareOptions options = options_for(folder, {"lib/*.jsonl"});
  options.tokenizer = "sentencepiece";
  options.vocabulary_size = 350;
  options.heldout = 0.3;
  data::prepare(options);
  const TokenCorpus corpus = TokenCorpus::open(options.output);
  std::vector<std::string> train;
  for (int64_t i = 0; i < corpus.documents(); ++i) {
    if (corpus.document(i).split == Split::kTrain) train.push_back(corpus.document_text(i));
  }
  const auto expected = data::train_sentencepiece({train.begin(), train.end()}, {.vocabulary_size = 350});
  EXPECT_EQ(corpus.tokenizer_hash(), data::tokenizer_hash(*expected));
}

TEST(ChildProcess, OutputStatusAndLimitsAreReported) {
  using End = data::ChildResult::End;
  const auto echo = data::run_child({"echo", "a b", "$HOME;`id`"});
  EXPECT_EQ(echo.output, "a b $HOME;`id`\n") << "no shell";
  EXPECT_EQ(data::run_child({"false"}).status, 1);
  EXPECT_EQ(data::run_child({"no-such-program-here"}).end, End::kNotFound);
  EXPECT_EQ(data::run_child({"sleep", "30"}, {.seconds = 1}).end, End::kTooLong);
  EXPECT_EQ(data::run_child({"cat", "/dev/zero"}, {.most_bytes = 1 << 20}).end, End::kTooMuchOutput);
  EXPECT_EQ(data::run_child({"cat"}).output, "") << "no input";
}

TEST(Workers, EveryIndexRunsOnceAndTheFirstFaultIsThrown) {
  std::vector<std::atomic<int>> calls(1000);
  data::for_each_index(1000, 7, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
  EXPECT_TRUE(std::all_of(calls.begin(), calls.end(), [](const auto& count) { return count == 1; }));
  data::for_each_index(0, 3, [](int64_t) { FAIL(); });
  EXPECT_EQ(error_of([] {
              data::for_each_index(10, 1, [](int64_t i) {
                if (i > 3) parallel::user_error("index ", i);
              });
            }),
            "index 4");
}

}  // namespace
}  // namespace data_tests
