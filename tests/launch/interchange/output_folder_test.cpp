#include "launch/interchange/output_folder.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

TEST(OutputFolder, AppearsOnCommitOnly) {
  const TemporaryFolder folder;
  {
    OutputFolder output(folder / "out");
    output.write_text("a.txt", "hello");
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    output.commit();
  }
  std::string text;
  std::getline(std::ifstream(folder / "out/a.txt"), text);
  EXPECT_EQ(text, "hello");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(OutputFolder, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  { OutputFolder(folder / "out").write_text("a.txt", "hello"); }
  EXPECT_TRUE(folder.is_empty());
}

TEST(OutputFolder, FillsAnEmptyFolder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "out");
  OutputFolder output(folder / "out/");  // as a shell completes it
  output.write_text("a.txt", "hello");
  output.commit();
  EXPECT_TRUE(std::filesystem::exists(folder / "out/a.txt"));
}

TEST(OutputFolder, RefusesWhatIsThere) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "full");
  std::ofstream(folder / "full/mine") << "x";
  expect_user_error([&] { OutputFolder{folder / "full"}; }, {"full", "is not empty"});
  expect_user_error([&] { OutputFolder{folder / "full/mine"}; }, {"mine", "not a folder"});
  expect_user_error([&] { OutputFolder{folder / "no/where"}; }, {"/no", "does not exist"});
}

TEST(OutputFolder, DoesNotOverwriteWhatAppearsMeanwhile) {
  const TemporaryFolder folder;
  {
    OutputFolder output(folder / "out");
    std::filesystem::create_directory(folder / "out");
    std::ofstream(folder / "out/theirs") << "x";
    expect_user_error([&] { output.commit(); }, {"out"});
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "out/theirs"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(OutputFile, NamesWhatCannotBeOpened) {
  expect_user_error([] { OutputFile("/no/such/folder/file"); }, {"/no/such/folder/file", "No such file"});
}

}  // namespace
}  // namespace launch::interchange
