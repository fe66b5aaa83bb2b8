// What options may be given: refused before anything is read, in a message that can be read.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/commands/options/output_file.h"
#include "parallel/base/fault.h"

namespace {

struct Outcome {
  int exit_code = 0;
  std::string message;
};

Outcome run(std::vector<std::string> words) {
  words.insert(words.begin(), "moetrain");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  testing::internal::CaptureStderr();
  const int exit_code =
      launch::run_command_line(static_cast<int>(arguments.size()), arguments.data(), launch::builtin_registry());
  return {exit_code, testing::internal::GetCapturedStderr()};
}

/// A command with what it demands, and an option of it that takes a number.
struct NumberOption {
  std::vector<std::string> command;
  std::string option;
  std::string legal;  // part of the message
  bool whole = false;
};

const std::vector<NumberOption> kNumberOptions{
    {{"generate", "none"}, "--temperature", "0 to 1000000"},
    {{"generate", "none"}, "--top-p", "1e-06 to 1"},
    {{"generate", "none"}, "--tokens", "1 to 1048576", true},
    {{"generate", "none"}, "--seed", "0 to ", true},
    {{"evaluate", "none"}, "--update", "0 to ", true},
    {{"evaluate", "none"}, "--average", "1 to 1000", true},
    {{"evaluate", "none"}, "--start-limit", "1 to 86400"},
    {{"train", "none.toml"}, "--start-limit", "1 to 86400"},
    {{"doctor"}, "--start-limit", "1 to 86400"},
    {{"profile", "none.toml"}, "--limit", "1 to 86400"},
    {{"bench", "none.toml"}, "--rounds", "1 to 100000", true},
    {{"prepare", "--output", "none.h5"}, "--heldout", "0 to 0.9"},
    {{"prepare", "--output", "none.h5"}, "--vocabulary", "260 to 1048576", true},
    {{"prepare", "--output", "none.h5"}, "--threads", "0 to 1024", true},
};

TEST(CommandLine, NoNumberIsTakenThatIsNone) {
  for (const NumberOption& each : kNumberOptions) {
    for (const std::string value : {"nan", "-nan", "inf", "-inf", "1e400", "-1", "99999999999999999999", "many", ""}) {
      std::vector<std::string> words = each.command;
      words.push_back(each.option + "=" + value);
      const Outcome outcome = run(words);
      EXPECT_EQ(outcome.exit_code, launch::kUserFault) << each.option << " " << value;
      EXPECT_NE(outcome.message.find(each.option), std::string::npos) << value << ": " << outcome.message;
      EXPECT_LT(outcome.message.size(), 200u) << outcome.message;
      if (!value.empty()) {
        EXPECT_NE(outcome.message.find(each.legal), std::string::npos) << outcome.message;
      }
    }
    if (each.whole) {
      std::vector<std::string> words = each.command;
      words.push_back(each.option + "=2.5");
      EXPECT_NE(run(words).message.find("a whole number"), std::string::npos) << each.option;
    }
  }
}

TEST(OutputFile, NothingThatIsReadIsWrittenOver) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "moetrain_output_file_test";
  fs::remove_all(folder);
  fs::create_directories(folder / "inner");
  const fs::path source = folder / "recipe.toml", link = folder / "link.toml", twin = folder / "twin.toml";
  std::ofstream(source) << "[run]\n";
  std::ofstream(folder / "old.json") << "{}\n";
  fs::create_symlink(source, link);
  fs::create_hard_link(source, twin);
  const auto complaint = [&](const fs::path& output) -> std::string {
    try {
      launch::check_output_file("--json", output, {"", source});
      return "";
    } catch (const parallel::UserError& error) {
      return error.what();
    }
  };
  for (const fs::path& same : {source, link, twin, folder / "inner/../recipe.toml"}) {
    EXPECT_NE(complaint(same).find("which this command reads"), std::string::npos) << same;
  }
  EXPECT_NE(complaint(folder / "inner").find("is a folder"), std::string::npos);
  EXPECT_NE(complaint(folder / "absent/new.json").find("a folder that is there"), std::string::npos);
  EXPECT_EQ(complaint(folder / "new.json"), "");
  EXPECT_EQ(complaint(folder / "old.json"), "");
  EXPECT_EQ(complaint("/dev/null"), "");
  EXPECT_FALSE(fs::exists(folder / "new.json"));
  fs::remove_all(folder);
}

}  // namespace
