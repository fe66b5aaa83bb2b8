#include <sys/stat.h>

#include <thread>

#include "data/files/file_bytes.h"
#include "data/prepare/prepare.h"
#include "data/sources/glob.h"
#include "data/sources/text_source.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool says(const std::vector<std::string>& sentences, const std::string& part) {
  return std::any_of(sentences.begin(), sentences.end(),
                     [&](const auto& s) { return s.find(part) != std::string::npos; });
}

std::vector<std::string> names_of(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::string> names;
  for (const auto& path : paths) names.push_back(path.filename().string());
  return names;
}

TEST(TextFiles, AFileThatExistsByItsNameIsThatFile) {
  const TemporaryFolder folder;
  for (const std::string name : {"a[1].txt", "a1.txt", "what?.txt", "whats.txt", "d[x]/b.txt", "dx/c.txt"}) {
    write_file(folder / name, name);
  }
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of(data::expand_glob(folder / "a[1].txt")), Names{"a[1].txt"});
  EXPECT_EQ(names_of(data::expand_glob(folder / "what?.txt")), Names{"what?.txt"});
  EXPECT_EQ(names_of(data::expand_glob(folder / "d[x]/*.txt")), Names{"b.txt"}) << "a folder of that name";
  EXPECT_EQ(names_of(data::expand_glob(folder / "d[x]/**/*.txt")), Names{"b.txt"});
  EXPECT_EQ(names_of(data::expand_glob(folder / "a[0-9].txt")), Names{"a1.txt"}) << "else it is a pattern";
}

TEST(TextFiles, WhatAPatternMatchesAndIsNotReadIsSaid) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "x");
  write_file(folder / "d/b.txt", "x");
  std::filesystem::create_symlink("nowhere", folder / "broken.txt");
  std::filesystem::create_directory_symlink("d", folder / "link");
  std::vector<std::string> not_read;
  EXPECT_EQ(names_of(data::expand_glob(folder / "*", &not_read)), std::vector<std::string>{"a.txt"});
  EXPECT_TRUE(says(not_read,
                   "matches folders and not what is in them ('" + (folder / "**/*") + "' would): '" + (folder / "d")));
  EXPECT_TRUE(says(not_read, "broken links or no regular files: '" + (folder / "broken.txt") + "'."));
  not_read.clear();
  EXPECT_EQ(data::expand_glob(folder / "**/*.txt", &not_read).size(), 2u);
  EXPECT_TRUE(says(not_read, "does not follow links to folders: '" + (folder / "link") + "'."));
  const std::string message = error_of([&] { data::expand_glob(folder / "broken.txt"); });
  EXPECT_NE(message.find("is a broken link: there is no file 'nowhere'"), std::string::npos) << message;
}

TEST(TextFiles, APipeIsReadOnceToItsEnd) {
  const TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string lines;
  for (int i = 0; i < 20000; ++i) lines += "{\"text\": \"number " + std::to_string(i) + "\"}\n";
  gzip_file(folder / "packed", lines);
  std::jthread writer([&] { write_file(pipe, read_file(folder / "packed")); });
  const auto files = data::expand_glob(pipe);
  ASSERT_EQ(files.size(), 1u);
  std::vector<std::string> notes;
  const auto documents = data::read_text_file(files[0], {}, &notes);
  ASSERT_EQ(documents.size(), 20000u) << "JSON lines and gzip, known by their content";
  EXPECT_EQ(documents[7].text, "number 7");
  EXPECT_EQ(documents[7].name, pipe + ":8");
  EXPECT_TRUE(says(notes, "'" + pipe + "' is read as JSON lines")) << "a pipe's name says nothing";
}

TEST(TextFiles, JsonLinesAreKnownByAnyOfTheirNamesAndByTheirFirstLine) {
  const TemporaryFolder folder;
  const std::string lines = "\n{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  for (const std::string name : {"a.ndjson", "a.JSONL", "a.jsonlines", "a.Json", "a.ldjson", "a.jl", "a.txt", "a"}) {
    std::vector<std::string> notes;
    write_file(folder / name, lines);
    EXPECT_EQ(data::read_text_file(folder / name, {}, &notes).size(), 2u) << name;
    EXPECT_EQ(notes.size(), name == "a.txt" || name == "a" ? 1u : 0u) << name;
    for (const std::string packed : {".gz", ".GZ", ".packed"}) {
      gzip_file(folder / (name + packed), lines);
      EXPECT_EQ(data::read_text_file(folder / (name + packed), {}).size(), 2u) << name << packed;
    }
  }
  for (const std::string text :
       {"{\"text\": \"cut", "{ braces }\n", "{\"body\": \"x\"}\n", "x\n{\"text\": \"one\"}\n"}) {
    write_file(folder / "plain.txt", text);
    const auto documents = data::read_text_file(folder / "plain.txt", {});
    ASSERT_EQ(documents.size(), 1u) << text;
    EXPECT_EQ(documents[0].text, text);
  }
}

TEST(TextFiles, WhatIsNoTextIsRefusedByItsKind) {
  const TemporaryFolder folder;
  const auto message_for = [&](const std::string& bytes) {
    write_file(folder / "x.txt", bytes);
    return error_of([&] { data::read_text_file(folder / "x.txt", {}); });
  };
  const auto expect = [&](const std::string& bytes, const std::string& words) {
    const std::string message = message_for(bytes);
    EXPECT_NE(message.find("x.txt: " + words), std::string::npos) << message;
  };
  expect(std::string("\xFD"
                     "7zXZ\0",
                     6),
         "is packed by xz; unpack it first (xz -d)");
  expect(std::string("name") + std::string(253, '\0') + "ustar\0", "is a tar archive");
  expect("%PDF-1.4\n", "is a PDF document");
  expect(std::string("\xFF\xFE"
                     "a\0",
                     4),
         "is written in UTF-16; legal is UTF-8");
  EXPECT_NE(message_for("fine\nfine\nb\xE9").find("byte 0xE9 at offset 11"), std::string::npos);
  EXPECT_NE(message_for("fine\nfine\nb\xE9").find(", in line 3"), std::string::npos);
  std::vector<std::string> notes;
  write_file(folder / "zeros.txt", std::string("a\0b\0", 4));
  data::read_text_file(folder / "zeros.txt", {}, &notes);
  EXPECT_TRUE(says(notes, "holds 2 zero bytes"));
}

TEST(TextFiles, ZstdFilesAreReadAndRefusedAsGzipFilesAre) {
  const TemporaryFolder folder;
  const std::string text = sentences(1, 300);
  const std::string good = zstd_packed(text);
  const auto message_for = [&](const std::string& bytes, int64_t most = 1 << 30) {
    write_file(folder / "bad.zst", bytes);
    return error_of([&] { data::read_bytes(folder / "bad.zst", most); });
  };
  const std::string cut = message_for(good.substr(0, good.size() - 9));
  EXPECT_TRUE(has(cut, parallel::concat("bad.zst: the zstd file is truncated: it ends at byte ", good.size() - 9)));
  EXPECT_TRUE(has(message_for("plain text"), "not a zstd file, or damaged: Unknown frame descriptor, at byte 0"));
  EXPECT_TRUE(has(message_for(good + "tail"), parallel::concat("at byte ", good.size()))) << message_for(good + "t");
  EXPECT_TRUE(has(message_for(""), "the zstd file is empty"));
  EXPECT_TRUE(has(message_for(good, static_cast<int64_t>(good.size())), "unpacks to more than"));
  EXPECT_TRUE(has(message_for(zstd_packed(std::string(64 << 20, 'a'))), "200 times"));
  EXPECT_TRUE(has(message_for(zstd_packed(text, /*window_log=*/28)), "too much memory")) << "256 MiB of window";
  write_file(folder / "two.jsonl.ZST", good + good);
  EXPECT_EQ(data::read_bytes(folder / "two.jsonl.ZST", 1 << 30), text + text) << "several frames follow each other";
  EXPECT_TRUE(data::is_named_json_lines(folder / "two.jsonl.ZST"));
  write_file(folder / "twice.gz", "");
  gzip_file(folder / "twice.gz", good);
  EXPECT_TRUE(has(error_of([&] { data::read_bytes(folder / "twice.gz", 1 << 30); }), "packed twice"));
}

TEST(TextFiles, TakesTheFieldOfJsonLinesThatIsNamed) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt",
             zstd_packed("{\"doc\": {\"body\": \"one\"}}\n{\"doc.body\": \"two\", \"language\": \"en\"}\n"));
  const auto documents = data::read_text_file(folder / "a.txt", {.field = "doc.body"});
  ASSERT_EQ(documents.size(), 2u) << "known by its first line";
  EXPECT_EQ(documents[0].text, "one");
  EXPECT_EQ(documents[1].text, "two");
  EXPECT_EQ(documents[1].group, "en");
  const auto message_for = [&](const std::string& line) {
    write_file(folder / "x.jsonl", "{\"a\": {\"b\": \"fine\"}}\n" + line + "\n");
    return error_of([&] { data::read_text_file(folder / "x.jsonl", {.field = "a.b"}); });
  };
  EXPECT_TRUE(has(message_for("{\"text\": \"x\"}"), "x.jsonl:2: the object has no \"a.b\""));
  EXPECT_TRUE(has(message_for("{\"a\": \"b\"}"), "x.jsonl:2: the object has no \"a.b\""));
  EXPECT_TRUE(has(message_for("{\"a\": {\"b\": []}}"), "x.jsonl:2: \"a.b\" is array, not a string"));
}

TEST(TextFiles, NamesOfGroupsAndFilesAreShownWithoutWhatATerminalObeys) {
  const TemporaryFolder folder;
  write_file(folder / "a.jsonl", "{\"text\": \"one\", \"language\": \"d\\u001b[31me\"}\n");
  data::PrepareOptions options;
  options.text = {folder / "a.jsonl"};
  options.output = folder / "out.h5";
  options.tokenizer = "byte";
  const std::string text = data::to_text(data::prepare(options));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("  d\\x1b[31me  train"), std::string::npos) << text;
  EXPECT_NE(text.find("Nothing of group 'd\\x1b[31me' is held out"), std::string::npos) << text;
}

}  // namespace
}  // namespace data_tests
