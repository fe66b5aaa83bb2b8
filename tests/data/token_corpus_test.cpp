#include "data/datasets/token_corpus.h"

#include <sys/resource.h>

#include <csignal>

#include "data/batch.h"
#include "data/batching/sequence_sampler.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/hdf5/file.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::Split;
using data::TokenBatch;
using data::TokenCorpus;

struct Sample {
  std::string text;
  int32_t group;
  Split split;
};

std::vector<Sample> samples(int64_t count) {
  std::vector<Sample> all;
  for (int64_t i = 0; i < count; ++i) {
    const auto seed = static_cast<uint64_t>(i);
    all.push_back({i % 5 == 4 ? "" : random_text(seed, i % 37), static_cast<int32_t>(i % 3),
                   i % 4 == 1 ? Split::kHeldOut : Split::kTrain});
  }
  return all;
}

void write_corpus(const std::string& path, const std::vector<Sample>& all,
                  const std::shared_ptr<const data::Tokenizer>& tokenizer) {
  data::TokenCorpusWriter writer(path, tokenizer, {"de", "en", "fr"});
  for (size_t i = 0; i < all.size(); ++i) {
    const auto bytes = static_cast<int64_t>(all[i].text.size());
    writer.add({"doc " + std::to_string(i), all[i].group, all[i].split, bytes, 0}, tokenizer->encode(all[i].text));
  }
  writer.finish();
}

/// A tokenizer with a vocabulary that needs four bytes a token.
class WideTokenizer : public data::ByteTokenizer {
 public:
  int64_t vocabulary_size() const override { return 70000; }
};

TEST(TokenCorpus, GivesBackDocumentsGroupsAndSplits) {
  const TemporaryFolder folder;
  const auto all = samples(40);
  for (const auto& tokenizer : {data::load_byte_tokenizer(""), small_tokenizer()}) {
    const std::string path = folder / (tokenizer->kind() + ".h5");
    write_corpus(path, all, tokenizer);
    const TokenCorpus corpus = TokenCorpus::open(path);
    EXPECT_EQ(corpus.groups(), (std::vector<std::string>{"de", "en", "fr"}));
    EXPECT_EQ(corpus.tokenizer().kind(), tokenizer->kind());
    EXPECT_EQ(corpus.tokenizer_hash(), data::tokenizer_hash(*tokenizer));
    ASSERT_EQ(corpus.documents(), 40);
    for (int64_t i = 0; i < 40; ++i) {
      const auto& sample = all[static_cast<size_t>(i)];
      const data::DocumentInfo info = corpus.document(i);
      EXPECT_EQ(corpus.document_text(i), sample.text);
      EXPECT_EQ(info.name, "doc " + std::to_string(i));
      EXPECT_EQ(info.group, sample.group);
      EXPECT_EQ(info.split, sample.split);
      EXPECT_EQ(info.bytes, static_cast<int64_t>(sample.text.size()));
    }
    EXPECT_NE(error_of([&] { corpus.document_text(40); }).find("0 to 39"), std::string::npos);
  }
  EXPECT_NE(data::tokenizer_hash(*data::load_byte_tokenizer("")), data::tokenizer_hash(*small_tokenizer()));
}

TEST(TokenCorpus, SameDocumentsGiveTheSameBytes) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", samples(20), small_tokenizer());
  write_corpus(folder / "b.h5", samples(20), small_tokenizer());
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(TokenCorpus, ExistingOutputIsRefusedUnlessReplaced) {
  const TemporaryFolder folder;
  write_file(folder / "a.h5", "precious");
  const std::string message = error_of([&] { write_corpus(folder / "a.h5", samples(3), small_tokenizer()); });
  EXPECT_NE(message.find("exists already"), std::string::npos);
  EXPECT_EQ(read_file(folder / "a.h5"), "precious");
  data::TokenCorpusWriter writer(folder / "a.h5", small_tokenizer(), {"g"}, data::Overwrite::kReplace);
  writer.add({"n", 0, Split::kTrain, 1, 0}, small_tokenizer()->encode("x"));
  writer.finish();
  EXPECT_EQ(TokenCorpus::open(folder / "a.h5").documents(), 1);
  EXPECT_NE(error_of([&] { write_corpus(folder / "no/a.h5", samples(3), small_tokenizer()); }).find("no folder"),
            std::string::npos);
}

/// s[0] = end_of_text, then the documents of the split, each with its end_of_text.
struct NaiveStream {
  std::vector<int64_t> tokens;
  std::vector<int32_t> groups{-1};
};

NaiveStream naive_stream(const std::vector<Sample>& all, Split split, const data::Tokenizer& tokenizer) {
  NaiveStream naive{{tokenizer.end_of_text()}};
  for (const Sample& sample : all) {
    if (sample.split != split) continue;
    for (const int32_t token : tokenizer.encode(sample.text)) naive.tokens.push_back(token);
    naive.tokens.push_back(tokenizer.end_of_text());
    naive.groups.resize(naive.tokens.size(), sample.group);
  }
  return naive;
}

void expect_equal_reads(const data::TokenStream& stream, const NaiveStream& naive, int64_t end_of_text) {
  ASSERT_EQ(stream.size(), static_cast<int64_t>(naive.tokens.size()) - 1);
  for (const int64_t count : {int64_t{1}, int64_t{2}, int64_t{7}, int64_t{64}, stream.size() + 5}) {
    for (int64_t begin = 0; begin < stream.size() + 9; begin += std::max<int64_t>(1, count / 2)) {
      std::vector<int64_t> tokens(static_cast<size_t>(count), -7), targets(tokens);
      std::vector<int32_t> groups(static_cast<size_t>(count), -7);
      stream.read(begin, count, tokens.data(), targets.data(), groups.data());
      for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(begin + i);
        const bool inside = begin + i < stream.size();
        const auto k = static_cast<size_t>(i);
        ASSERT_EQ(tokens[k], inside ? naive.tokens[at] : end_of_text) << begin << "+" << i << " of " << stream.size();
        ASSERT_EQ(targets[k], inside ? naive.tokens[at + 1] : TokenBatch::kIgnored) << begin << "+" << i;
        ASSERT_EQ(groups[k], inside ? naive.groups[at + 1] : 0) << begin << "+" << i;
      }
    }
  }
}

TEST(TokenStream, ReadsWhatTheNaiveConcatenationHolds) {
  const TemporaryFolder folder;
  const auto all = samples(60);
  int number = 0;
  const std::shared_ptr<const data::Tokenizer> bytes = data::load_byte_tokenizer("");
  for (const auto& tokenizer : {bytes, small_tokenizer()}) {
    const std::string path = folder / (std::to_string(number++) + ".h5");
    write_corpus(path, all, tokenizer);
    const TokenCorpus corpus = TokenCorpus::open(path);
    for (const Split split : {Split::kTrain, Split::kHeldOut}) {
      expect_equal_reads(corpus.stream(split), naive_stream(all, split, *tokenizer), tokenizer->end_of_text());
    }
  }
}

TEST(TokenStream, CountsBytesAndTargetsOfEachGroup) {
  const TemporaryFolder folder;
  const auto all = samples(60);
  write_corpus(folder / "a.h5", all, small_tokenizer());
  const data::TokenStream stream = TokenCorpus::open(folder / "a.h5").stream(Split::kTrain);  // outlives the corpus
  int64_t bytes[3] = {}, targets[3] = {};
  for (const Sample& sample : all) {
    if (sample.split != Split::kTrain) continue;
    bytes[sample.group] += static_cast<int64_t>(sample.text.size());
    targets[sample.group] += static_cast<int64_t>(small_tokenizer()->encode(sample.text).size()) + 1;
  }
  for (int64_t group = 0; group < 3; ++group) {
    EXPECT_EQ(stream.bytes_of_group(group), bytes[group]);
    EXPECT_EQ(stream.targets_of_group(group), targets[group]);
  }
  EXPECT_EQ(stream.bytes(), bytes[0] + bytes[1] + bytes[2]);
  EXPECT_EQ(stream.size(), targets[0] + targets[1] + targets[2]);
}

TEST(TokenStream, WithoutDocumentsIsEmpty) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", {{"text", 0, Split::kTrain}}, small_tokenizer());
  const data::TokenStream stream = TokenCorpus::open(folder / "a.h5").stream(Split::kHeldOut);
  EXPECT_EQ(stream.size(), 0);
  EXPECT_EQ(data::evaluation_windows(stream, 8), 0);
  const TokenBatch batch = data::read_windows(stream, 4, {0});
  EXPECT_EQ(batch.targets, std::vector<int64_t>(4, TokenBatch::kIgnored));
}

TEST(TokenStream, LargeVocabulariesTakeFourBytes) {
  const TemporaryFolder folder;
  data::TokenCorpusWriter writer(folder / "a.h5", std::make_shared<WideTokenizer>(), {"g"});
  writer.add({"n", 0, Split::kTrain, 0, 0}, {65535, 65536, 69999});
  writer.finish();
  const data::Hdf5File file = data::Hdf5File::open(folder / "a.h5");
  EXPECT_EQ(file.read<uint32_t>("/documents/tokens", 10), (std::vector<uint32_t>{65535, 65536, 69999, 256}));
}

TEST(TokenCorpus, EveryFlippedByteOfThePayloadIsNoticed) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", samples(30), small_tokenizer());
  const std::string good = read_file(folder / "a.h5");
  const data::Hdf5File file = data::Hdf5File::open(folder / "a.h5");
  for (const std::string name : {"/documents/tokens", "/documents/offsets", "/documents/group", "/documents/bytes",
                                 "/documents/split", "/documents/name", "/groups", "/tokenizer/model"}) {
    const data::DatasetPlace place = file.place(name);
    for (const int64_t at : {int64_t{0}, place.count * data::bytes_of(place.type) - 1}) {
      std::string bad = good;
      bad[static_cast<size_t>(place.offset + at)] ^= 4;
      write_file(folder / "bad.h5", bad);
      const std::string message = error_of([&] { TokenCorpus::open(folder / "bad.h5"); });
      EXPECT_NE(message.find("bad.h5: '" + name + "' is damaged"), std::string::npos) << message;
    }
  }
}

TEST(TokenCorpus, AnyFlippedByteAnywhereIsRefusedOrHarmless) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", samples(8), data::load_byte_tokenizer(""));
  const std::string good = read_file(folder / "a.h5");
  const parallel::RandomStream random(1, "flips");
  for (int64_t i = 0; i < 500; ++i) {
    std::string bad = good;
    bad[static_cast<size_t>(random.below(2 * i, static_cast<int64_t>(good.size())))] ^=
        static_cast<char>(1 << random.below(2 * i + 1, 8));
    write_file(folder / "bad.h5", bad);
    try {
      const TokenCorpus corpus = TokenCorpus::open(folder / "bad.h5");
      for (int64_t d = 0; d < corpus.documents(); ++d) corpus.document_text(d);
    } catch (const parallel::UserError&) {
    }
  }
}

TEST(TokenCorpus, TruncatedFilesAreRefused) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", samples(30), small_tokenizer());
  const std::string good = read_file(folder / "a.h5");
  for (const size_t size : {good.size() - 1, good.size() / 2, size_t{600}, size_t{100}, size_t{8}, size_t{0}}) {
    write_file(folder / "cut.h5", good.substr(0, size));
    const std::string message = error_of([&] { TokenCorpus::open(folder / "cut.h5"); });
    EXPECT_NE(message.find("cut.h5: is "), std::string::npos) << message;
  }
}

TEST(TokenCorpus, ForeignAndMissingFilesAreRefused) {
  const TemporaryFolder folder;
  const auto open = [&](const std::string& name) { return error_of([&] { TokenCorpus::open(folder / name); }); };
  EXPECT_NE(open("none.h5").find("there is no such file"), std::string::npos);
  EXPECT_NE(open(".").find("is not a regular file"), std::string::npos);
  write_file(folder / "text.h5", "just some text that is long enough to be looked at");
  EXPECT_NE(open("text.h5").find("is not an HDF5 file"), std::string::npos);
  data::Hdf5File other = data::Hdf5File::create(folder / "other.h5");
  other.write<int64_t>("/numbers", {1, 2, 3});
  other.close();
  EXPECT_NE(open("other.h5").find("no attribute 'format'"), std::string::npos);
  data::Hdf5File checkpoint = data::Hdf5File::create(folder / "checkpoint.h5");
  checkpoint.write_attribute("/", "format", "moetrain checkpoint");
  checkpoint.write_attribute("/", "version", "1");
  checkpoint.close();
  EXPECT_NE(open("checkpoint.h5").find("this program reads 'moetrain tokens'"), std::string::npos);
}

/// A token file whose checksums are right and whose content is not.
std::string open_forged(const TemporaryFolder& folder, const std::vector<int64_t>& offsets, int32_t group,
                        uint16_t token) {
  std::filesystem::remove(folder / "forged.h5");
  const auto tokenizer = data::load_byte_tokenizer("");
  data::Hdf5File file = data::Hdf5File::create(folder / "forged.h5");
  file.write_attribute("/", "format", "moetrain tokens");
  file.write_attribute("/", "version", "1");
  file.write_attribute("/", "tokenizer_hash", data::tokenizer_hash(*tokenizer));
  file.create_group("/documents");
  file.write<uint16_t>("/documents/tokens", {1, token, 256});
  file.write("/documents/offsets", offsets);
  file.write<int32_t>("/documents/group", {group});
  file.write<int64_t>("/documents/bytes", {2});
  file.write<uint8_t>("/documents/split", {0});
  file.write_blob("/documents/name", std::string("n\0", 2));
  file.write_blob("/groups", std::string("g\0", 2));
  file.create_group("/tokenizer");
  file.write_attribute("/tokenizer", "kind", "byte");
  file.write_blob("/tokenizer/model", "");
  file.close();
  return error_of([&] { TokenCorpus::open(folder / "forged.h5"); });
}

TEST(TokenCorpus, InconsistentContentIsRefused) {
  const TemporaryFolder folder;
  EXPECT_NE(open_forged(folder, {0, 3}, 0, 257).find("token 257 is outside the vocabulary of 257"), std::string::npos);
  EXPECT_NE(open_forged(folder, {0, 3}, 1, 2).find("group 1"), std::string::npos);
  EXPECT_NE(open_forged(folder, {0, 3}, -1, 2).find("group -1"), std::string::npos);
  EXPECT_NE(open_forged(folder, {0, 4}, 0, 2).find("cover tokens 0 to 4"), std::string::npos);
  EXPECT_NE(open_forged(folder, {0, 2, 3}, 0, 2).find("disagree"), std::string::npos);
  EXPECT_NE(open_forged(folder, {}, 0, 2).find("disagree"), std::string::npos);
}

/// While it lives no file of this process may grow beyond `bytes`: a write beyond fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(TokenCorpusWriter, DiskThatFillsUpLeavesNothingBehind) {
  const TemporaryFolder folder;
  write_corpus(folder / "size.h5", samples(30), small_tokenizer());
  const auto full = static_cast<rlim_t>(std::filesystem::file_size(folder / "size.h5"));
  std::filesystem::remove(folder / "size.h5");
  write_file(folder / "neighbour", "untouched");
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1}, rlim_t{2000}, full / 2, full - 1}) {
    std::string message;
    {
      const FileSizeLimit limited(limit);
      message = error_of([&] { write_corpus(folder / "a.h5", samples(30), small_tokenizer()); });
    }
    EXPECT_NE(message.find("cannot write the file"), std::string::npos) << message;
    EXPECT_EQ(folder.names(), std::vector<std::string>{"neighbour"}) << "limit " << limit;
  }
  write_corpus(folder / "a.h5", samples(30), small_tokenizer());
  EXPECT_EQ(TokenCorpus::open(folder / "a.h5").documents(), 30);
}

TEST(TokenCorpusWriter, DiskThatFillsUpKeepsTheOldFile) {
  const TemporaryFolder folder;
  write_corpus(folder / "a.h5", samples(5), small_tokenizer());
  const std::string before = read_file(folder / "a.h5");
  data::TokenCorpusWriter writer(folder / "a.h5", small_tokenizer(), {"g"}, data::Overwrite::kReplace);
  writer.add({"n", 0, Split::kTrain, 1, 0}, small_tokenizer()->encode(sentences(1, 500)));
  {
    const FileSizeLimit limited(3000);
    error_of([&] { writer.finish(); });
  }
  EXPECT_EQ(read_file(folder / "a.h5"), before);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"a.h5"});
}

}  // namespace
}  // namespace data_tests
