// What many threads make of text is what one makes of it.
#include "data/prepare/encoding.h"
#include "data/prepare/prepare.h"
#include "data/sources/lines.h"
#include "data/sources/text_source.h"
#include "data/sources/workers.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

/// Lines of words, of empty ones and of long ones.
std::string long_text(uint64_t seed, size_t bytes) {
  const parallel::RandomStream stream(seed, "long text");
  std::string text;
  for (int64_t i = 0; text.size() < bytes; ++i) {
    text += parallel::concat("Zeile ", stream.below(i, 1000), " größer  als ", i % 7 == 0 ? "\n\n" : "\n");
    if (i % 1000 == 0) text.append(5000, 'x');
  }
  return text;
}

std::string json_lines(size_t bytes) {
  std::string lines;
  for (int64_t i = 0; lines.size() < bytes; ++i) {
    lines += parallel::concat("{\"text\": \"", i, " der Hund lief ", i * i, "\"}\n", i % 100 == 0 ? "\n" : "");
  }
  return lines;
}

TEST(Cores, WholeLinesAreCutAndNothingIsLost) {
  for (const std::string& text : {std::string(), std::string("a"), std::string("\n\n\n"), long_text(1, 10000)}) {
    for (const size_t bytes : {size_t{1}, size_t{7}, size_t{6000}, size_t{1} << 20}) {
      const std::vector<std::string_view> stretches = data::cut_at_lines(text, bytes);
      std::string all;
      for (size_t s = 0; s < stretches.size(); ++s) {
        EXPECT_TRUE(s + 1 == stretches.size() || stretches[s].ends_with('\n'));
        EXPECT_FALSE(stretches[s].empty());
        all += stretches[s];
      }
      EXPECT_EQ(all, text);
    }
  }
}

TEST(Cores, OfManyFaultsTheFirstIsTold) {
  for (int round = 0; round < 50; ++round) {
    EXPECT_EQ(error_of([] {
                data::for_each_index(200, 8, [](int64_t i) {
                  if (i >= 40 && i % 3 == 1) parallel::user_error("at ", i);
                });
              }),
              "at 40");
  }
}

TEST(Cores, ALongTextsTokensAreThoseOfTheWhole) {
  const std::string text = long_text(2, 2500000);
  for (const std::shared_ptr<const data::Tokenizer>& tokenizer :
       {small_tokenizer(),
        std::shared_ptr<const data::Tokenizer>(data::builtin_tokenizers().at("byte").make({}, {}))}) {
    const std::vector<int32_t> whole = tokenizer->encode(text);
    for (const int64_t threads : {1, 2, 5}) {
      const data::EncodedTexts encoded = data::encode_texts({"a\nb", text, ""}, *tokenizer, threads);
      EXPECT_EQ(encoded.tokens[0], tokenizer->encode("a\nb"));
      EXPECT_TRUE(encoded.tokens[1] == whole) << threads;
      EXPECT_TRUE(encoded.tokens[2].empty());
      EXPECT_EQ(encoded.changed, 0);
    }
  }
}

TEST(Cores, JsonLinesAreReadInTheirOrder) {
  const TemporaryFolder folder;
  const std::string lines = json_lines(2500000);
  write_file(folder / "a.jsonl", lines);
  const auto one = data::read_text_file(folder / "a.jsonl", {});
  ASSERT_GT(one.size(), 30000u);
  for (const int64_t threads : {2, 5}) {
    const auto many = data::read_text_file(folder / "a.jsonl", {.threads = threads});
    ASSERT_EQ(many.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) {
      ASSERT_EQ(many[i].name, one[i].name);  // file and line
      ASSERT_EQ(many[i].text, one[i].text);
    }
  }
  const auto number = std::count(lines.begin(), lines.end(), '\n') + 1;
  write_file(folder / "b.jsonl", lines + "{}\n" + lines + "[]\n" + lines);
  EXPECT_TRUE(error_of([&] {
                data::read_text_file(folder / "b.jsonl", {.threads = 5});
              }).starts_with(parallel::concat(folder / "b.jsonl", ":", number, ": the object has no \"text\"")));
}

TEST(Cores, TheTokenFileIsTheSameAtAnyNumberOfThreads) {
  const TemporaryFolder folder;
  write_file(folder / "texts/long.txt", long_text(3, 1500000));
  write_file(folder / "texts/lines.jsonl", json_lines(1500000));
  for (int i = 0; i < 7; ++i) write_file(folder / parallel::concat("texts/short", i, ".txt"), long_text(4 + i, 3000));
  for (const int64_t parts_from : {int64_t{0}, int64_t{1} << 40}) {
    std::string first;
    for (const int64_t threads : {1, 2, 5}) {
      data::PrepareOptions options;
      options.text = {folder / "texts/*"};
      options.output = folder / parallel::concat("out", threads, ".h5");
      options.overwrite = data::Overwrite::kReplace;
      options.tokenizer = "byte";
      options.threads = threads;
      options.parts_from_bytes = parts_from;
      options.stretch_bytes = 100000;
      data::prepare(options);
      const std::string made = read_file(options.output);
      if (first.empty()) first = made;
      EXPECT_TRUE(made == first) << threads << " threads, parts from " << parts_from;
    }
  }
}

}  // namespace
}  // namespace data_tests
