#include "launch/checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <limits>

#include "launch/checkpoint/checksum.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

using launch::CheckpointTensor;

const launch::CheckpointInfo kInfo{.update = 12,
                                   .sequences = 345,
                                   .tokens = 6789,
                                   .vocabulary = 257,
                                   .tokenizer_hash = "0123456789abcdef",
                                   .corpus = "fedcba9876543210",
                                   .recipe = "[run]\nfolder = \"x\"\n",
                                   .plan = "{\"name\": \"by hand\"}",
                                   .build = "test"};

/// Odd sizes, so that slices of ranks end inside rows; one tensor smaller than the number of ranks.
std::vector<CheckpointTensor> example_tensors() {
  const auto range = [](at::IntArrayRef shape, at::ScalarType type) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    return at::arange(count, at::kDouble).sin().view(shape).to(type);
  };
  return {{"parameters/a.weight", range({7, 5}, at::kFloat)},
          {"parameters/blocks.0.b", range({3, 11, 13}, at::kDouble)},
          {"parameters/one", range({1}, at::kFloat)},
          {"optimizer/first_moment/a.weight", range({7, 5}, at::kFloat)}};
}

std::vector<CheckpointTensor> blank_tensors() {
  std::vector<CheckpointTensor> blank;
  for (const auto& tensor : example_tensors()) blank.push_back({tensor.path, at::zeros_like(tensor.tensor)});
  return blank;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no error";
}

class CheckpointTest : public testing::Test {
 protected:
  void write() { launch::write_checkpoint(path_, kInfo, example_tensors(), *world_); }
  /// Changes the file on one rank, the others waiting.
  void on_one_rank(const std::function<void()>& action) {
    parallel::all_ranks(*world_, [&] {
      if (world_->rank() == 0) action();
    });
  }

  std::shared_ptr<parallel::Communicator> world_ = test_world();
  TestFolder folder_{"checkpoint", *world_};
  std::filesystem::path path_ = launch::checkpoint_path(folder_.path(), 12);
};

TEST_F(CheckpointTest, GivesBackEveryBit) {
  write();
  const auto read = blank_tensors(), expected = example_tensors();
  launch::read_checkpoint(path_, read);
  for (size_t i = 0; i < read.size(); ++i) EXPECT_TRUE(at::equal(read[i].tensor, expected[i].tensor)) << read[i].path;
  const auto info = launch::read_checkpoint_info(path_);
  EXPECT_EQ(info.update, 12);
  EXPECT_EQ(info.sequences, 345);
  EXPECT_EQ(info.tokens, 6789);
  EXPECT_EQ(info.vocabulary, 257);
  EXPECT_EQ(info.tokenizer_hash, kInfo.tokenizer_hash);
  EXPECT_EQ(info.recipe, kInfo.recipe);
  EXPECT_EQ(info.plan, kInfo.plan);
  EXPECT_EQ(info.build, "test");
  EXPECT_EQ(info.corpus, kInfo.corpus);
  EXPECT_EQ(launch::newest_update(folder_.path(), *world_), 12);
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".writing"));
}

TEST_F(CheckpointTest, APlanMayBeLongOrAbsentAsInOlderFiles) {
  launch::CheckpointInfo info = kInfo;
  for (const size_t length : {size_t{0}, size_t{200'000}}) {
    info.plan = std::string(length, 'p');
    launch::write_checkpoint(path_, info, example_tensors(), *world_);
    EXPECT_EQ(launch::read_checkpoint_info(path_).plan, info.plan);
    parallel::all_ranks(*world_, [] {});  // all have read
  }
}

TEST_F(CheckpointTest, ReadsIntoAnotherPrecision) {
  write();
  const at::Tensor narrow = at::zeros({7, 5}, at::kBFloat16);
  auto tensors = blank_tensors();
  tensors[0].tensor = narrow;
  launch::read_checkpoint(path_, tensors);
  EXPECT_TRUE(at::equal(narrow, example_tensors()[0].tensor.to(at::kBFloat16)));
}

TEST_F(CheckpointTest, AFlippedByteIsFoundAndNamed) {
  write();
  on_one_rank([&] {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const double needle = std::sin(100.0);  // an element of blocks.0.b
    const size_t place = bytes.find(std::string(reinterpret_cast<const char*>(&needle), sizeof(needle)));
    ASSERT_NE(place, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(place));
    file.put(static_cast<char>(bytes[place] ^ 1));
  });
  const std::string message = message_of([&] { launch::read_checkpoint(path_, blank_tensors()); });
  EXPECT_NE(message.find("checksum of 'parameters/blocks.0.b' is wrong"), std::string::npos) << message;
}

TEST_F(CheckpointTest, TruncatedAndForeignFilesAreRefused) {
  write();
  on_one_rank([&] {
    std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1000);
    std::ofstream(folder_.path() / "foreign.h5") << "this is no HDF5 file";
  });
  EXPECT_NE(message_of([&] { launch::read_checkpoint(path_, blank_tensors()); }).find("truncated"), std::string::npos);
  EXPECT_NE(
      message_of([&] { launch::read_checkpoint_info(folder_.path() / "foreign.h5"); }).find("not a readable HDF5"),
      std::string::npos);
  EXPECT_NE(
      message_of([&] { launch::read_checkpoint_info(folder_.path() / "absent.h5"); }).find("there is no such file"),
      std::string::npos);
}

TEST_F(CheckpointTest, AnotherModelIsNamedByItsFirstDifferenceAndNothingIsFilled) {
  write();
  auto missing = blank_tensors();
  missing.push_back({"parameters/extra", at::zeros({2})});
  EXPECT_NE(message_of([&] { launch::read_checkpoint(path_, missing); }).find("holds no 'parameters/extra'"),
            std::string::npos);
  EXPECT_EQ(missing[0].tensor.abs().sum().item<double>(), 0);
  auto misshapen = blank_tensors();
  misshapen[0].tensor = at::zeros({5, 7});
  EXPECT_NE(
      message_of([&] { launch::read_checkpoint(path_, misshapen); }).find("has shape [7, 5], this model's is [5, 7]"),
      std::string::npos);
  auto fewer = blank_tensors();
  fewer.erase(fewer.begin() + 1);
  EXPECT_NE(message_of([&] { launch::read_checkpoint(path_, fewer); }).find("holds 'parameters/blocks.0.b'"),
            std::string::npos);
}

TEST_F(CheckpointTest, AFailedWriteLeavesTheOldFileAndNoNewOne) {
  write();
  const auto size = std::filesystem::file_size(path_);
  auto large = example_tensors();
  large.push_back({"parameters/large", at::ones({1 << 20})});
  const auto next = launch::checkpoint_path(folder_.path(), 13);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit kept = {};
  getrlimit(RLIMIT_FSIZE, &kept);
  const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = kept.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of([&] { launch::write_checkpoint(next, kInfo, large, *world_); });
  setrlimit(RLIMIT_FSIZE, &kept);
  EXPECT_NE(message, "no error");  // on every rank
  EXPECT_FALSE(std::filesystem::exists(next));
  EXPECT_FALSE(std::filesystem::exists(next.string() + ".writing"));
  EXPECT_EQ(std::filesystem::file_size(path_), size);
}

TEST_F(CheckpointTest, FilesOfOtherNamesAreNoCheckpoints) {
  EXPECT_EQ(launch::newest_update(folder_.path(), *world_), -1);
  write();
  on_one_rank([&] {
    for (const char* name : {"update_000000000099_best.h5", "update_99.h5", "update_00000000x099.h5", "notes.txt"}) {
      std::ofstream(path_.parent_path() / name) << "mine";
    }
    launch::prune_checkpoints(folder_.path(), 1);
    EXPECT_TRUE(std::filesystem::exists(path_.parent_path() / "update_000000000099_best.h5"));
  });
  EXPECT_EQ(launch::newest_update(folder_.path(), *world_), 12);
}

TEST_F(CheckpointTest, HostileAttributesAreRefused) {
  launch::CheckpointInfo info = kInfo;
  info.vocabulary = -5;
  launch::write_checkpoint(path_, info, example_tensors(), *world_);
  EXPECT_NE(message_of([&] { launch::read_checkpoint_info(path_); }).find("'vocabulary' is -5; legal: at least 1"),
            std::string::npos);
  info = kInfo;
  info.update = -1;
  launch::write_checkpoint(path_, info, example_tensors(), *world_);
  EXPECT_NE(message_of([&] { launch::read_checkpoint_info(path_); }).find("'update' is -1"), std::string::npos);
}

TEST_F(CheckpointTest, NumbersThatAreNotFiniteAreRefused) {
  auto diverged = example_tensors();
  diverged[1].tensor[2][3][4] = std::numeric_limits<double>::infinity();
  launch::write_checkpoint(path_, kInfo, diverged, *world_);  // as another program might
  const std::string message = message_of([&] { launch::read_checkpoint(path_, blank_tensors()); });
  EXPECT_NE(message.find("'parameters/blocks.0.b' holds numbers that are not finite"), std::string::npos) << message;
}

TEST_F(CheckpointTest, ADamagedOneNamesTheOlderThatWouldDo) {
  const auto older = launch::checkpoint_path(folder_.path(), 7), broken = launch::checkpoint_path(folder_.path(), 9);
  launch::CheckpointInfo info = kInfo;
  info.update = 7;
  launch::write_checkpoint(older, info, example_tensors(), *world_);
  write();
  on_one_rank([&] {
    std::ofstream(broken) << "not HDF5";
    std::ofstream(path_) << "";
  });
  const std::string message = message_of([&] { launch::read_checkpoint_info(path_); });
  EXPECT_NE(message.find(path_.string() + ".unusable`, after which update 7 is the newest"), std::string::npos)
      << message;
  parallel::all_ranks(*world_, [] {});  // all have read
  on_one_rank([&] { launch::set_aside(path_); });
  on_one_rank([&] { launch::set_aside(broken); });
  EXPECT_EQ(launch::newest_update(folder_.path(), *world_), 7);
}

TEST_F(CheckpointTest, AnotherUpdateThanItsNameSaysIsDamage) {
  const auto renamed = launch::checkpoint_path(folder_.path(), 13);
  launch::write_checkpoint(renamed, kInfo, example_tensors(), *world_);
  EXPECT_NE(message_of([&] { launch::read_checkpoint_info(renamed); }).find("update 13, by its attribute of update 12"),
            std::string::npos);
}

TEST(Checksum, PartsAddUpHoweverTheyAreCut) {
  for (const int64_t bytes : {4, 8}) {
    const std::string text(static_cast<size_t>(101 * bytes), 'x');
    const uint64_t whole = launch::partial_checksum(text.data(), bytes, 101, 0);
    for (const int64_t cut : {1, 33, 100}) {
      EXPECT_EQ(launch::partial_checksum(text.data() + cut * bytes, bytes, 101 - cut, cut) +
                    launch::partial_checksum(text.data(), bytes, cut, 0),
                whole);
    }
    std::string changed = text;
    changed[0] = 'y';
    EXPECT_NE(launch::partial_checksum(changed.data(), bytes, 101, 0), whole);
  }
}

TEST(Checksum, KnowsTheOrderOfElements) {
  const std::vector<int64_t> a{1, 2}, b{2, 1};
  EXPECT_NE(launch::partial_checksum(a.data(), 8, 2, 0), launch::partial_checksum(b.data(), 8, 2, 0));
}

}  // namespace
