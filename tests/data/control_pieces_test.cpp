#include "data/tokenizers/control_pieces.h"

#include <set>

#include "data/datasets/token_corpus.h"
#include "tests/data/parallel_support.h"

namespace data_tests {
namespace {

const std::vector<std::string> kTags = {"<2de>", "<2en>", "<2pt_BR>"};

/// Both kinds with the same tags; the text they are trained on spells the tags.
std::vector<std::shared_ptr<const data::Tokenizer>> tagged_tokenizers() {
  std::string text = sentences(1, 400);
  for (int i = 0; i < 200; ++i) text += "<2de> <2de>the <2en>of <2pt_BR>\n";
  return {data::make_byte_tokenizer(kTags),
          data::train_sentencepiece({text}, {.vocabulary_size = 380, .controls = kTags})};
}

TEST(ControlPieces, AreFoundByNameAndAnUnknownOneListsThem) {
  for (const auto& tokenizer : tagged_tokenizers()) {
    std::set<int64_t> tokens{tokenizer->end_of_text()};
    for (const std::string& tag : kTags) {
      const int64_t token = tokenizer->control(tag);
      EXPECT_EQ(tokenizer->piece(token).text, tag);
      EXPECT_EQ(tokenizer->piece(token).kind, data::PieceKind::kControl);
      tokens.insert(token);
    }
    EXPECT_EQ(tokens.size(), 4u) << tokenizer->kind();
    EXPECT_EQ(tokenizer->control("</s>"), tokenizer->end_of_text());
    const std::string message = error_of([&] { tokenizer->control("<2fr>"); });
    EXPECT_TRUE(says(message, "no control piece '<2fr>'")) << message;
    EXPECT_TRUE(says(message, "</s>, <2de>, <2en>, <2pt_BR>")) << message;
  }
  EXPECT_EQ(data::make_byte_tokenizer(kTags)->control("<2en>"), 258);
  EXPECT_EQ(data::make_byte_tokenizer(kTags)->vocabulary_size(), 260);
}

TEST(ControlPieces, NeverComeOutOfEncodeWhateverTheTextSpells) {
  for (const auto& tokenizer : tagged_tokenizers()) {
    for (const std::string text :
         {"<2de>", "a <2en> b", "<2de><2de>", "<2de>the <2en>of <2pt_BR>", " <2de> <2de>the"}) {
      const auto tokens = tokenizer->encode(text);
      for (const int32_t token : tokens) EXPECT_NE(tokenizer->piece(token).kind, data::PieceKind::kControl) << text;
      EXPECT_EQ(tokenizer->decode(tokens), text);
    }
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const std::string text = random_text(seed, 60) + "<2de>";
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    }
  }
}

TEST(ControlPieces, DecodeToNothing) {
  for (const auto& tokenizer : tagged_tokenizers()) {
    std::vector<int32_t> tokens = tokenizer->encode("the load");
    tokens.insert(tokens.begin(), static_cast<int32_t>(tokenizer->control("<2de>")));
    tokens.push_back(static_cast<int32_t>(tokenizer->end_of_text()));
    EXPECT_EQ(tokenizer->decode(tokens), "the load");
    EXPECT_EQ(data::token_bytes(*tokenizer)[static_cast<size_t>(tokenizer->control("<2en>"))], 0);
  }
}

TEST(ControlPieces, AreKeptInTheSerializedForm) {
  for (const auto& tokenizer : tagged_tokenizers()) {
    const auto again = data::builtin_tokenizers().at(tokenizer->kind()).load(tokenizer->serialized());
    EXPECT_EQ(again->vocabulary_size(), tokenizer->vocabulary_size());
    EXPECT_EQ(again->control("<2pt_BR>"), tokenizer->control("<2pt_BR>"));
    EXPECT_EQ(data::tokenizer_hash(*again), data::tokenizer_hash(*tokenizer));
  }
  EXPECT_EQ(data::make_byte_tokenizer({})->serialized(), "");
  EXPECT_EQ(data::make_byte_tokenizer({"<2de>", "<2en>"})->serialized(), "<2de>\n<2en>\n");
  EXPECT_NE(data::tokenizer_hash(*data::make_byte_tokenizer({"<2de>"})),
            data::tokenizer_hash(*data::make_byte_tokenizer({})));
}

TEST(ControlPieces, NoneAtTrainingChangesNothing) {
  const std::string text = sentences(1, 400);
  EXPECT_EQ(data::train_sentencepiece({text}, {.vocabulary_size = 360})->serialized(), small_tokenizer()->serialized());
}

TEST(ControlPieces, IllegalNamesAreRefused) {
  const auto message = [](const std::string& name) {
    return error_of([&] { data::make_byte_tokenizer({"<2de>", name}); });
  };
  EXPECT_TRUE(says(message(""), "a control piece of 0 bytes"));
  EXPECT_TRUE(says(message("<2a b>"), "'<2a b>'; legal are"));
  EXPECT_TRUE(says(message("<2a,b>"), "'<2a,b>'; legal are"));
  EXPECT_TRUE(says(message("<2\xC3\xA4>"), "printable ASCII"));
  EXPECT_TRUE(says(message(std::string(65, 'x')), "65 bytes"));
  EXPECT_TRUE(says(message("</s>"), "'</s>' is there anyway"));
  EXPECT_TRUE(says(message("<0x0A>"), "is there anyway"));
  EXPECT_TRUE(says(message("<2de>"), "two control pieces '<2de>'"));
  EXPECT_TRUE(says(error_of([] { data::load_byte_tokenizer("<2de>\n<2e"); }), "3 bytes follow the last one"));
  EXPECT_TRUE(says(error_of([] { data::load_byte_tokenizer("\n"); }), "a control piece of 0 bytes"));
  EXPECT_TRUE(says(error_of([] { data::load_byte_tokenizer(joined_lines(std::vector<std::string>(65537, "x"))); }),
                   "65537 control pieces; at most 65536"));
  EXPECT_TRUE(says(error_of([] {
                     data::train_sentencepiece({"text"}, {.vocabulary_size = 261, .controls = {"<2de>", "<2en>"}});
                   }),
                   "5 control pieces and the characters of the text need more than 261"));
  EXPECT_TRUE(says(error_of([] { data::train_sentencepiece({"text"}, {.controls = {"<2,>"}}); }), "'<2,>'"));
}

}  // namespace
}  // namespace data_tests
