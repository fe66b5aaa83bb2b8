#include <map>

#include "data/prepare/prepare.h"
#include "data/sources/man_source.h"
#include "data/sources/man_text.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::ManPages;

std::string page(const std::string& name, const std::string& body) {
  return ".\\\" a comment\n.TH " + name + " 1 2024-01-01 \"Linux\" \"Manual\"\n.SH NAME\n" + name +
         " \\- does things\n" + body;
}

std::map<std::string, std::string> texts(const ManPages& pages) {
  std::map<std::string, std::string> by_name;
  for (const auto& document : pages.documents) by_name[document.group + "/" + document.key] = document.text;
  return by_name;
}

TEST(ManPagesSource, RendersPagesAsProse) {
  const TemporaryFolder folder;
  std::string longest;
  for (int i = 0; i < 400; ++i) longest += "word" + std::to_string(i) + "\n";
  gzip_file(folder / "usr/share/man/man1/ls.1.gz",
            page("ls", ".SH DESCRIPTION\nList\n.B bold\nand\n.I italic\nwords.\nTwo  spaces,\\~tied.\n.PP\n" + longest +
                           ".TP\n.B \\-a\nAll \\(en of them.\n.SH EMPTY\n.SH LAST\nEnd.\n"));
  const ManPages pages = data::read_man_pages(folder.path(), {});
  ASSERT_EQ(pages.documents.size(), 1u);
  std::string joined;
  for (int i = 0; i < 400; ++i) joined += (i ? " word" : "word") + std::to_string(i);
  EXPECT_EQ(pages.documents[0].text,
            "NAME\nls - does things\n\nDESCRIPTION\nList bold and italic words. Two spaces, tied.\n\n" + joined +
                "\n\n-a All – of them.\n\nLAST\nEnd.\n");
}

TEST(ManPagesSource, LanguageAndKeyComeFromThePath) {
  const TemporaryFolder folder;
  write_file(folder / "man/man1/ls.1", page("ls", ".SH A\nenglish\n"));
  gzip_file(folder / "man/de/man1/ls.1.gz", page("ls", ".SH A\ndeutsch: größer\n"));
  gzip_file(folder / "man/pt_BR/man8/mount.8.gz", page("mount", ".SH A\nportuguês\n"));
  gzip_file(folder / "man/fr.UTF-8/man3p/exit.3p.gz", page("exit", ".SH A\nfrançais\n"));
  write_file(folder / "man/de/README.txt", "no page");
  const auto found = texts(data::read_man_pages(folder.path(), {}));
  EXPECT_EQ(found.size(), 4u);
  EXPECT_TRUE(found.contains("en/ls.1"));
  EXPECT_TRUE(found.contains("pt_BR/mount.8"));
  EXPECT_TRUE(found.contains("fr/exit.3p"));
  EXPECT_NE(found.at("de/ls.1").find("größer"), std::string::npos);
}

TEST(ManPagesSource, LinksAndStubsAreSkippedAndCounted) {
  const TemporaryFolder folder;
  gzip_file(folder / "man/man1/ls.1.gz", page("ls", ".SH A\ntext\n"));
  std::filesystem::create_symlink("ls.1.gz", folder / "man/man1/dir.1.gz");
  gzip_file(folder / "man/man1/vdir.1.gz", ".\\\" generated\n.so man1/ls.1\n");
  const ManPages pages = data::read_man_pages(folder.path(), {});
  EXPECT_EQ(pages.documents.size(), 1u);
  EXPECT_EQ(pages.symbolic_links, 1);
  EXPECT_EQ(pages.stubs, 1);
}

TEST(ManPagesSource, LinesThatManyPagesShareAreLeftOut) {
  const TemporaryFolder folder;
  const std::string licence = "This is free software, and you know very well what it is that this means.";
  for (int64_t i = 0; i <= data::kBoilerplatePages; ++i) {
    const std::string name = "p" + std::to_string(i);
    write_file(folder / ("man/man1/" + name + ".1"),
               page(name, ".SH DESCRIPTION\nPage number " + std::to_string(i) + ".\n.SH LICENCE\n" + licence + "\n"));
  }
  write_file(folder / "man/de/man1/p0.1", page("p0", ".SH LIZENZ\n" + licence + "\n"));
  const ManPages pages = data::read_man_pages(folder.path(), {});
  EXPECT_EQ(pages.boilerplate_lines, data::kBoilerplatePages + 1);
  const auto found = texts(pages);
  EXPECT_EQ(found.at("en/p3.1"), "NAME\np3 - does things\n\nDESCRIPTION\nPage number 3.\n");
  EXPECT_NE(found.at("de/p0.1").find(licence), std::string::npos) << "counted for each language";
}

TEST(ManPagesSource, MissingRendererFolderAndPagesAreRefused) {
  const TemporaryFolder folder;
  write_file(folder / "man/man1/ls.1", page("ls", ".SH A\ntext\n"));
  const auto message = error_of([&] { data::read_man_pages(folder.path(), {.mandoc = "no-such-mandoc"}); });
  EXPECT_NE(message.find("apt-get install mandoc"), std::string::npos) << message;
  EXPECT_NE(error_of([&] { data::read_man_pages(folder / "none", {}); }).find("no folder"), std::string::npos);
  write_file(folder / "empty/readme", "no page");
  EXPECT_NE(error_of([&] { data::read_man_pages(folder / "empty", {}); }).find("no manual page"), std::string::npos);
}

TEST(ManPagesSource, PagesThatCannotBeRenderedAreCounted) {
  const TemporaryFolder folder;
  write_file(folder / "man/man1/ls.1", page("ls", ".SH A\ntext\n"));
  write_file(folder / "broken-mandoc", "#!/bin/sh\nexit 6\n");
  std::filesystem::permissions(folder / "broken-mandoc", std::filesystem::perms::owner_all);
  const ManPages pages = data::read_man_pages(folder.path(), {.mandoc = folder / "broken-mandoc"});
  EXPECT_EQ(pages.unreadable, 1);
  EXPECT_TRUE(pages.documents.empty());
}

TEST(ManText, MarkupHeaderFooterAndFramesGo) {
  const std::string rendered =
      "LS(1)        Manual        LS(1)\n\n"
      "N\bNA\bAM\bME\bE\n       _\bl_\bs - g\bgr\brü\büß\xC2\xA0x\n\n\n"
      "\x1B[1mSEE\x1B[0m ALSO\n       \xE2\x94\x8C\xE2\x94\x80\xE2\x94\x80\xE2\x94\x90\n"
      "       \xE2\x94\x82"
      "a  \xE2\x94\x82 b\xE2\x94\x82\n\nLinux   2024   LS(1)\n";
  EXPECT_EQ(data::to_prose(data::parse_rendered(rendered, 1000)), "NAME\nls - grüß x\n\nSEE ALSO\na b\n");
  EXPECT_EQ(data::to_prose(data::parse_rendered("", 1000)), "");
  EXPECT_EQ(data::to_prose(data::parse_rendered("\b\b\n\x1B", 1000)), "");
}

TEST(ManText, OnlyWrappedLinesAreJoined) {
  const std::string rendered =
      "H\n\nS\n       aaaa bbbb cccc\n       dddd eee\n       f\n\n       aaaa bbbb cccc\n         dddd\n\nF\n";
  EXPECT_EQ(data::to_prose(data::parse_rendered(rendered, 22)),
            "S\naaaa bbbb cccc dddd eee\nf\n\naaaa bbbb cccc\ndddd\n");
}

TEST(Prepare, HoldsOutTheTranslationsOfAManualPageTogether) {
  const TemporaryFolder folder;
  for (int i = 0; i < 60; ++i) {
    const std::string name = "p" + std::to_string(i);
    for (const std::string language : {"", "de/", "fr/"}) {
      write_file(folder / ("pages/man/" + language + "man1/" + name + ".1"),
                 page(name, ".SH A\n" + language + sentences(static_cast<uint64_t>(i), 3)));
    }
  }
  data::PrepareOptions options;
  options.man = {folder / "pages"};
  options.output = folder / "out.h5";
  options.tokenizer = "byte";
  options.heldout = 0.2;
  const auto summary = data::prepare(options);
  ASSERT_EQ(summary.groups.size(), 3u);
  EXPECT_GT(summary.groups[0].heldout.documents, 0);
  const auto corpus = data::TokenCorpus::open(options.output);
  std::map<std::string, std::set<data::Split>> splits;
  for (int64_t i = 0; i < corpus.documents(); ++i) {
    splits[std::filesystem::path(corpus.document(i).name).filename()].insert(corpus.document(i).split);
  }
  EXPECT_EQ(splits.size(), 60u);
  for (const auto& [name, found] : splits) EXPECT_EQ(found.size(), 1u) << name;
}

}  // namespace
}  // namespace data_tests
