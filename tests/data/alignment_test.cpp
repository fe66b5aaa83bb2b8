#include "data/datasets/alignment.h"

#include "data/datasets/parallel_text.h"
#include "tests/data/parallel_support.h"

namespace data_tests {
namespace {

using data::Split;
using data::TokenCorpus;

/// What a forged file holds besides five documents of one byte: 0 de train, 1 en train, 2 de test, 3 en test, 4 en
/// train. All checksums are right.
struct Forgery {
  std::vector<std::string> groups = {"de", "en"};
  std::vector<uint8_t> split = {0, 0, 2, 2, 0};
};

std::string forge(const std::string& path, const std::vector<int64_t>& alignment, const Forgery& with = {}) {
  std::filesystem::remove(path);
  const auto tokenizer = data::make_byte_tokenizer({"<2de>", "<2en>"});
  data::Hdf5File file = data::Hdf5File::create(path);
  file.write_attribute("/", "format", "moetrain tokens");
  file.write_attribute("/", "version", "1");
  file.write_attribute("/", "tokenizer_hash", data::tokenizer_hash(*tokenizer));
  file.create_group("/documents");
  file.write<uint16_t>("/documents/tokens", {65, 256, 66, 256, 67, 256, 68, 256, 69, 256});
  file.write<int64_t>("/documents/offsets", {0, 2, 4, 6, 8, 10});
  file.write<int32_t>("/documents/group", {0, 1, 0, 1, 1});
  file.write<int64_t>("/documents/bytes", {1, 1, 1, 1, 1});
  file.write("/documents/split", with.split);
  file.write_blob("/documents/name", std::string("a\0b\0c\0d\0e\0", 10));
  file.write_blob("/groups", data::join_names(with.groups));
  file.create_group("/alignment");
  file.write("/alignment/documents", alignment);
  file.create_group("/tokenizer");
  file.write_attribute("/tokenizer", "kind", "byte");
  file.write_blob("/tokenizer/model", tokenizer->serialized());
  file.close();
  return path;
}

TEST(Alignment, GivesBackRowsAndSplits) {
  const TokenCorpus corpus =
      corpus_of_rows({"de", "en", "fr"}, {{Split::kTrain, {{0, "eins"}, {1, "one"}}},
                                          {Split::kTrain, {{0, "zwei"}, {1, "two"}, {2, "deux"}}},
                                          {Split::kHeldOut, {{1, ""}, {2, "trois"}}},
                                          {Split::kTest, {{0, "vier"}, {2, "quatre"}}}});
  ASSERT_EQ(corpus.aligned_rows(), 4);
  EXPECT_EQ(corpus.aligned_rows(Split::kTrain), 2);
  EXPECT_EQ(corpus.aligned_rows(Split::kHeldOut), 1);
  EXPECT_EQ(corpus.aligned_rows(Split::kTest), 1);
  const std::vector<std::vector<std::string>> expected = {
      {"eins", "one", "-"}, {"zwei", "two", "deux"}, {"-", "", "trois"}, {"vier", "-", "quatre"}};
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t group = 0; group < 3; ++group) {
      const int64_t document = corpus.aligned_document(row, group);
      const std::string text = document < 0 ? "-" : corpus.document_text(document);
      EXPECT_EQ(text, expected[static_cast<size_t>(row)][static_cast<size_t>(group)]) << row << ", " << group;
    }
  }
  EXPECT_EQ(corpus.document(8).split, Split::kTest);
  EXPECT_EQ(data::to_string(Split::kTest), "test");
  EXPECT_EQ(corpus.stream(Split::kTest).documents(), 2);
  EXPECT_TRUE(says(error_of([&] { corpus.aligned_document(4, 0); }), "no row 4 with group 0; it has 4 aligned rows"));
  EXPECT_TRUE(says(error_of([&] { corpus.aligned_document(0, 3); }), "of 3 groups"));
}

TEST(Alignment, FilesWithoutItHaveNoRows) {
  const TemporaryFolder folder;
  data::TokenCorpusWriter writer(folder / "a.h5", data::load_byte_tokenizer(""), {"g"});
  EXPECT_EQ(writer.add({"n", 0, Split::kTrain, 1, 0}, {65}), 0);
  EXPECT_EQ(writer.add({"m", 0, Split::kTrain, 1, 0}, {66}), 1);
  writer.finish();
  EXPECT_EQ(TokenCorpus::open(folder / "a.h5").aligned_rows(), 0);
  EXPECT_FALSE(data::Hdf5File::open(folder / "a.h5").has("/alignment"));
}

TEST(Alignment, InconsistentRowsAreRefusedWithRowAndValue) {
  const TemporaryFolder folder;
  EXPECT_EQ(TokenCorpus::open(forge(folder / "good.h5", {0, 1, 2, 3})).aligned_rows(), 2);
  const auto message = [&](const std::vector<int64_t>& alignment, const Forgery& with = {}) {
    return error_of([&] { TokenCorpus::open(forge(folder / "forged.h5", alignment, with)); });
  };
  const auto says_all = [&](const std::string& text, const std::string& part) {
    EXPECT_TRUE(says(text, part)) << text;
    EXPECT_TRUE(says(text, "forged.h5: ")) << text;
  };
  says_all(message({0, 5}), "row 0 of '/alignment/documents' names document 5; there are documents 0 to 4");
  says_all(message({0, 1, -2, 3}), "row 1 of '/alignment/documents' names document -2");
  says_all(message({0, INT64_MAX}), "names document 9223372036854775807");
  says_all(message({1, 0}), "has document 1 of group 1 in column 0");
  says_all(message({0, 1, 0, 4}), "row 1 of '/alignment/documents' has document 0, which an earlier row has");
  says_all(message({0, 3}), "joins documents 0 and 3, which are of different splits");
  says_all(message({0, -1}), "holds 1 documents; translations are at least 2");
  says_all(message({-1, -1}), "holds 0 documents");
  says_all(message({0, 1, 2}), "3 elements, which are no rows of 2 groups");
  says_all(message({0, 1, 2, 3, -1, 4}), "has 6 elements; at most 4 are legal");
  says_all(message({0, 1}, {.split = {0, 0, 2, 3, 0}}), "document 3 is in split 3; 0 to 2 are known");
  std::vector<std::string> many(1025, "g");
  says_all(message({0, 1}, {.groups = many}), "an alignment of 1025 groups; at most 1024");
}

TEST(Alignment, OtherTypesAndMissingDatasetsAreRefused) {
  const TemporaryFolder folder;
  const TokenCorpus corpus = corpus_of_rows({"a", "b"}, {{Split::kTrain, {{0, "x"}, {1, "y"}}}});
  data::Hdf5File file = data::Hdf5File::create(folder / "a.h5");
  file.create_group("/alignment");
  EXPECT_TRUE(file.has("/alignment"));
  EXPECT_FALSE(file.has("/other"));
  file.write<int32_t>("/alignment/documents", {0, 1});
  file.close();
  data::CorpusContents contents;
  contents.groups = {"a", "b"};
  contents.group = {0, 1};
  const data::Hdf5File narrow = data::Hdf5File::open(folder / "a.h5");
  EXPECT_TRUE(says(error_of([&] { data::read_alignment(narrow, contents); }), "has elements of int32, not int64"));
  data::Hdf5File empty = data::Hdf5File::create(folder / "b.h5");
  empty.create_group("/alignment");
  empty.close();
  const data::Hdf5File hollow = data::Hdf5File::open(folder / "b.h5");
  EXPECT_TRUE(says(error_of([&] { data::read_alignment(hollow, contents); }), "has no '/alignment/documents'"));
}

TEST(Alignment, FlippedBytesAreNoticed) {
  const TemporaryFolder folder;
  const std::string good = read_file(forge(folder / "good.h5", {0, 1, 2, 3}));
  const data::DatasetPlace place = data::Hdf5File::open(folder / "good.h5").place("/alignment/documents");
  for (const int64_t at : {int64_t{0}, int64_t{31}}) {
    std::string bad = good;
    bad[static_cast<size_t>(place.offset + at)] ^= 1;
    write_file(folder / "bad.h5", bad);
    const std::string message = error_of([&] { TokenCorpus::open(folder / "bad.h5"); });
    EXPECT_TRUE(says(message, "bad.h5: '/alignment/documents' is damaged")) << message;
  }
}

TEST(Alignment, AnyFlippedByteAnywhereIsRefusedOrHarmless) {
  const TemporaryFolder folder;
  const std::string good = read_file(forge(folder / "good.h5", {0, 1, 2, 3}));
  const parallel::RandomStream random(2, "flips");
  for (int64_t i = 0; i < 300; ++i) {
    std::string bad = good;
    bad[static_cast<size_t>(random.below(2 * i, static_cast<int64_t>(good.size())))] ^=
        static_cast<char>(1 << random.below(2 * i + 1, 8));
    write_file(folder / "bad.h5", bad);
    try {
      const data::ParallelText text(TokenCorpus::open(folder / "bad.h5"), Split::kTest, {});
      for (int64_t p = 0; p < text.size(); ++p) text.source_text(p);
    } catch (const parallel::UserError&) {
    }
  }
}

TEST(Alignment, IsPartOfTheFingerprint) {
  const TemporaryFolder folder;
  const auto fingerprint = [&](const std::vector<int64_t>& alignment) {
    return TokenCorpus::open(forge(folder / "a.h5", alignment)).fingerprint();
  };
  EXPECT_EQ(fingerprint({0, 1, 2, 3}), fingerprint({0, 1, 2, 3}));
  EXPECT_NE(fingerprint({0, 1, 2, 3}), fingerprint({0, 4, 2, 3}));
  EXPECT_NE(fingerprint({0, 1, 2, 3}), fingerprint({0, 1}));
}

}  // namespace
}  // namespace data_tests
