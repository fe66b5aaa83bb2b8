// Where the text and the tokenizer of a run are found after its folder moved.
#include "launch/runs/token_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "data/datasets/corpus_contents.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_tokenizer.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

namespace fs = std::filesystem;

class TokenFile : public testing::Test {
 protected:
  /// What one rank does to the folder that all share. Collective.
  void once(const std::function<void()>& change) {
    parallel::all_ranks(*world_, [] {});  // the others may still look at what was
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) change();
    });
  }
  void put(const fs::path& from, const fs::path& to) {
    once([&] {
      fs::create_directories(to.parent_path());
      fs::copy_file(from, to, fs::copy_options::overwrite_existing);
    });
  }
  launch::CheckpointInfo info() {
    const data::TokenCorpus corpus = data::TokenCorpus::open(text_);
    return {.vocabulary = corpus.tokenizer().vocabulary_size(),
            .tokenizer_hash = corpus.tokenizer_hash(),
            .corpus = corpus.fingerprint()};
  }
  /// What is opened: "" for nothing, with the message in `message_`.
  std::string opened(const std::string& named = "") {
    try {
      return launch::open_token_file(run_, recipe_, info_, named, data::Verify::kIndexOnly)
          .only("the test")
          .shared_contents()
          ->path;
    } catch (const parallel::UserError& error) {
      message_ = error.what();
      return "";
    }
  }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"token_file", *world_};
  const std::string text_ = make_tiny_corpus(folder_, *world_);
  const fs::path run_ = folder_.path() / "there/runs/first";
  launch::CheckpointInfo info_ = info();
  launch::Recipe recipe_;
  std::string message_;
};

TEST_F(TokenFile, IsFoundWhereItMovedWithTheRun) {
  recipe_.run.folder = "runs/first";
  recipe_.data.file = "moetrain_work/mine.h5";  // seen from the working directory of training
  once([&] { fs::create_directories(run_); });
  EXPECT_EQ(opened(), "");
  EXPECT_NE(message_.find("--data"), std::string::npos) << message_;
  EXPECT_NE(message_.find((folder_.path() / "there/moetrain_work/mine.h5").string()), std::string::npos) << message_;
  EXPECT_EQ(opened(text_), text_) << "the advice, followed";
  for (const char* place :
       {"runs/first/mine.h5", "runs/mine.h5", "runs/moetrain_work/mine.h5", "moetrain_work/mine.h5"}) {
    put(text_, folder_.path() / "there" / place);
    EXPECT_EQ(opened(), (folder_.path() / "there" / place).string());
  }
  recipe_.data.file = "/nowhere/mine.h5";  // of another machine
  EXPECT_EQ(opened(), (folder_.path() / "there/runs/mine.h5").string());
}

TEST_F(TokenFile, AnotherTextIsTakenOnlyWhereItIsNamed) {
  recipe_.run.folder = run_;
  recipe_.data.file = folder_.path() / "here/tiny.h5";
  info_.corpus = "of another text";
  put(text_, run_ / "tiny.h5");
  EXPECT_EQ(opened(), "");
  EXPECT_EQ(opened(run_ / "tiny.h5"), (run_ / "tiny.h5").string());
  put(text_, folder_.path() / "here/tiny.h5");
  EXPECT_EQ(opened(), recipe_.data.file) << "the recipe names it";
}

TEST_F(TokenFile, ATokenizerIsKeptAndKnownByItsHash) {
  const launch::RunFolder folder{run_};
  const data::TokenCorpus corpus = data::TokenCorpus::open(text_);
  once([&] { fs::create_directories(run_); });
  EXPECT_EQ(launch::read_tokenizer(folder, info_.tokenizer_hash, data::builtin_tokenizers()), nullptr);
  once([&] { launch::keep_tokenizer(folder, corpus.tokenizer()); });
  const auto kept = launch::read_tokenizer(folder, info_.tokenizer_hash, data::builtin_tokenizers());
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(data::tokenizer_hash(*kept), info_.tokenizer_hash);
  EXPECT_THROW(launch::read_tokenizer(folder, "another hash", data::builtin_tokenizers()), parallel::UserError);
  once([&] { std::ofstream(folder.tokenizer(), std::ios::binary) << "byte"; });
  EXPECT_THROW(launch::read_tokenizer(folder, info_.tokenizer_hash, data::builtin_tokenizers()), parallel::UserError);
  once([&] { launch::keep_tokenizer(folder, corpus.tokenizer()); });
  EXPECT_NE(launch::read_tokenizer(folder, info_.tokenizer_hash, data::builtin_tokenizers()), nullptr) << "mended";
}

}  // namespace
