// A token file made by several readers, or after a stop, is the one that a single reader makes at once.
#include <barrier>
#include <exception>
#include <mutex>
#include <thread>

#include "data/prepare/prepare.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Threads that prepare together as ranks do: where one throws, all do.
class Team {
 public:
  explicit Team(int64_t readers) : readers_(readers), met_(readers) {}

  /// The first reader's summary; throws the first fault.
  data::PrepareSummary prepare(const data::PrepareOptions& options) {
    std::vector<data::PrepareSummary> summaries(static_cast<size_t>(readers_));
    {
      std::vector<std::jthread> threads;
      for (int64_t r = 0; r < readers_; ++r) {
        threads.emplace_back([&, r] {
          const data::PrepareTeam team{{r, readers_}, [this](const auto& part) { together(part); }};
          try {
            summaries[static_cast<size_t>(r)] = data::prepare(options, team);
          } catch (const parallel::UserError&) {
          }
        });
      }
    }
    if (fault_) std::rethrow_exception(fault_);
    return summaries.front();
  }

 private:
  void together(const std::function<void()>& part) {
    try {
      part();
    } catch (const parallel::UserError&) {
      const std::lock_guard lock(mutex_);
      if (!fault_) fault_ = std::current_exception();
    }
    met_.arrive_and_wait();
    if (fault_) std::rethrow_exception(fault_);
  }

  int64_t readers_;
  std::barrier<> met_;
  std::mutex mutex_;
  std::exception_ptr fault_;
};

class PrepareParts : public testing::Test {
 protected:
  PrepareParts() {
    for (uint64_t f = 0; f < 5; ++f) {
      std::string lines;
      for (uint64_t d = 0; d < 20; ++d) {
        std::string text = sentences(f * 100 + d, 8);
        std::erase(text, '\n');
        lines += "{\"text\": \"" + text + "\", \"language\": \"" + (d % 2 == 0 ? "en" : "de") + "\"}\n";
      }
      write_file(folder_ / ("t/" + std::to_string(f) + ".jsonl"), lines);
    }
    write_file(folder_ / "t/plain.txt", sentences(7, 100));
  }
  data::PrepareOptions options_for(const std::string& output) const {
    data::PrepareOptions options;
    options.text = {folder_ / "t/*"};
    options.output = folder_ / output;
    options.vocabulary_size = 360;
    options.stretch_bytes = 4000;
    options.threads = 1;
    options.heldout = 0.2;
    return options;
  }
  std::string one_reader() {
    data::prepare(options_for("one.h5"));
    return read_file(folder_ / "one.h5");
  }
  TemporaryFolder folder_;
};

TEST_F(PrepareParts, AnyNumberOfReadersMakeTheSameFile) {
  const std::string one = one_reader();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "one.h5.parts")) << "so little text is not worth parts";
  data::PrepareOptions kept = options_for("kept.h5");
  kept.parts_from_bytes = 0;
  EXPECT_EQ(data::to_text(data::prepare(kept)).substr(kept.output.size()),
            data::to_text(Team(3).prepare(options_for("team.h5"))).substr((folder_ / "team.h5").size()));
  EXPECT_EQ(read_file(kept.output), one);
  EXPECT_EQ(read_file(folder_ / "team.h5"), one);
  for (const std::string& name : folder_.names()) EXPECT_FALSE(holds(name, ".parts")) << name << " is left";
}

TEST_F(PrepareParts, WhatWasFinishedBeforeAFaultIsUsedAgain) {
  const std::string one = one_reader();
  write_file(folder_ / "t/2a.jsonl", "{\"text\": \n");
  const data::PrepareOptions options = options_for("again.h5");
  EXPECT_TRUE(holds(error_of([&] { Team(2).prepare(options); }), "2a.jsonl:1: not a JSON object"));
  EXPECT_FALSE(std::filesystem::exists(options.output));
  int64_t parts = 0;
  std::filesystem::file_time_type newest;
  for (const auto& entry : std::filesystem::directory_iterator(options.output + ".parts")) {
    ++parts;
    newest = std::max(newest, entry.last_write_time());
  }
  EXPECT_EQ(parts, 6) << "all files but the bad one";
  std::filesystem::remove(folder_ / "t/2a.jsonl");
  // What is used again is not read: these bytes are no text any more, of the same size and time.
  const auto time = std::filesystem::last_write_time(folder_ / "t/3.jsonl");
  const std::string lines = read_file(folder_ / "t/3.jsonl");
  write_file(folder_ / "t/3.jsonl", std::string(lines.size(), '\xFF'));
  std::filesystem::last_write_time(folder_ / "t/3.jsonl", time);
  Team(3).prepare(options);
  EXPECT_EQ(read_file(options.output), one);
}

TEST_F(PrepareParts, AChangedFileAndADamagedPartAreNoticed) {
  const data::PrepareOptions options = options_for("changed.h5");
  write_file(folder_ / "t/bad.jsonl", "[]\n");
  error_of([&] { Team(2).prepare(options); });
  std::filesystem::remove(folder_ / "t/bad.jsonl");
  const std::string text = read_file(folder_ / "t/1.jsonl");
  write_file(folder_ / "t/1.jsonl", text + "{\"text\": \"one more\"}\n");
  for (const auto& entry : std::filesystem::directory_iterator(options.output + ".parts")) {
    if (entry.file_size() < 1000) continue;
    std::string bytes = read_file(entry.path());
    bytes[500] ^= 1;
    if (!holds(bytes, "1.jsonl\n")) write_file(entry.path(), bytes);  // all others
  }
  const data::PrepareSummary summary = Team(2).prepare(options);
  EXPECT_TRUE(holds(data::to_text(summary), "1.jsonl' has changed since an earlier prepare read it"))
      << data::to_text(summary);
  EXPECT_EQ(read_file(options.output), one_reader());
}

}  // namespace
}  // namespace data_tests
