// A recorded use as a file: what is written is read; what no recording gives is refused.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "data/hdf5/file.h"
#include "launch/use/expert_use.h"
#include "parallel/base/fault.h"

namespace {

using launch::ExpertUse;
using launch::LayerPart;
using launch::LayerUse;

LayerUse layer_of(int64_t block, LayerPart part, int64_t experts, std::vector<int64_t> units) {
  const auto routed = std::ssize(units);
  const auto random = [&](at::IntArrayRef shape) { return at::rand(shape, at::kDouble); };
  const at::Tensor chosen = at::randint(1, 50, {2, experts}, at::kLong);
  at::Tensor together = at::randint(0, 9, {2, experts, experts}, at::kLong);
  together.diagonal(0, 1, 2).copy_(chosen);
  return {.block = block,
          .part = part,
          .units = units,
          .seen_G = at::randint(1, 90, {2}, at::kLong),
          .chosen_GE = chosen,
          .gates_GE = random({2, experts}) - 0.5,
          .together_GEE = together,
          .computing_GN = at::randint(0, 9, {2, 4}, at::kLong),
          .rows_GR = at::randint(0, 50, {2, routed}, at::kLong),
          .input_square_GRD = random({2, routed, 5}),
          .hidden_square_GRF = random({2, routed, 7}),
          .hidden_absolute_GRF = random({2, routed, 7})};
}

class UseFileTest : public testing::Test {
 protected:
  UseFileTest() {
    at::manual_seed(1);
    std::filesystem::create_directories(folder_);
    use_ = {.run = "runs/a b",
            .update = 12,
            .fingerprint = "0123456789abcdef",
            .recipe_hash = "fedcba9876543210",
            .groups = {"en", "a name\nof \xff bytes"},
            .layers = {layer_of(0, LayerPart::kDense, 1, {7}), layer_of(1, LayerPart::kExperts, 4, {7, 7, 3}),
                       layer_of(1, LayerPart::kShared, 1, {7})}};
  }
  ~UseFileTest() override { std::filesystem::remove_all(folder_); }

  /// That what `change` makes of the use is refused in such words when it is read.
  void expect_refused(const std::function<void(ExpertUse&)>& change, const std::string& words) {
    ExpertUse changed = use_;
    for (LayerUse& layer : changed.layers) {
      layer.chosen_GE = layer.chosen_GE.clone();
      layer.together_GEE = layer.together_GEE.clone();
      layer.input_square_GRD = layer.input_square_GRD.clone();
    }
    change(changed);
    launch::write_use(path_, changed);
    expect_error([&] { launch::read_use(path_); }, words);
  }
  static void expect_error(const std::function<void()>& action, const std::string& words) {
    try {
      action();
      FAIL() << "nothing was refused, wanted: " << words;
    } catch (const parallel::UserError& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("use_file_" + std::to_string(getpid()));
  std::filesystem::path path_ = folder_ / "use.h5";
  ExpertUse use_;
};

TEST_F(UseFileTest, IsReadAsItWasWritten) {
  launch::write_use(path_, use_);
  launch::write_use(path_, use_);  // over itself
  EXPECT_TRUE(launch::is_use_file(path_));
  const ExpertUse read = launch::read_use(path_);
  EXPECT_EQ(read.run, use_.run);
  EXPECT_EQ(read.update, 12);
  EXPECT_EQ(read.fingerprint, use_.fingerprint);
  EXPECT_EQ(read.recipe_hash, use_.recipe_hash);
  EXPECT_EQ(read.groups, use_.groups);
  ASSERT_EQ(read.layers.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    const LayerUse &here = read.layers[i], &there = use_.layers[i];
    EXPECT_EQ(launch::layer_key(here), launch::layer_key(there));
    EXPECT_EQ(here.units, there.units);
    EXPECT_TRUE(here.seen_G.equal(there.seen_G) && here.chosen_GE.equal(there.chosen_GE) &&
                here.gates_GE.equal(there.gates_GE) && here.together_GEE.equal(there.together_GEE) &&
                here.computing_GN.equal(there.computing_GN) && here.rows_GR.equal(there.rows_GR) &&
                here.input_square_GRD.equal(there.input_square_GRD) &&
                here.hidden_square_GRF.equal(there.hidden_square_GRF) &&
                here.hidden_absolute_GRF.equal(there.hidden_absolute_GRF));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);  // nothing half written is left
}

TEST_F(UseFileTest, GroupsAreChosenByName) {
  use_.groups = {"en", "de"};
  EXPECT_EQ(launch::chosen_groups(use_, ""), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(launch::chosen_groups(use_, "de, en"), (std::vector<int64_t>{1, 0}));
  expect_error([&] { launch::chosen_groups(use_, "fr"); }, "no 'fr'");
  expect_error([&] { launch::chosen_groups(use_, "de,de"); }, "twice");
  const at::Tensor one = launch::over_groups(use_.layers[1].chosen_GE, {1});
  EXPECT_TRUE(one.equal(use_.layers[1].chosen_GE[1].to(at::kDouble)));
}

TEST_F(UseFileTest, AnotherModelsIsNamed) {
  expect_error([&] { launch::layer_use(use_, path_, 3, LayerPart::kExperts, 3); }, "of block 3");
  expect_error([&] { launch::layer_use(use_, path_, 1, LayerPart::kExperts, 8); },
               "use of 3 experts of block 1, which has 8");
}

TEST_F(UseFileTest, WhatNoRecordingGivesIsRefused) {
  expect_refused([](ExpertUse& use) { use.layers[1].together_GEE[0][2][2] += 1; }, "another diagonal");
  expect_refused(
      [](ExpertUse& use) {
        use.layers[1].chosen_GE[1][0] = -3;
        use.layers[1].together_GEE[1][0][0] = -3;
      },
      "block_1_experts/chosen' holds -3");
  expect_refused([](ExpertUse& use) { use.layers[0].input_square_GRD[0][0][4] = std::nan(""); },
                 "input_square' holds nan");
  expect_refused([](ExpertUse& use) { use.layers[1].units[2] = 8; }, "units");
  expect_refused([](ExpertUse& use) { std::swap(use.layers[0], use.layers[2]); }, "out of order");
  expect_error([&] { launch::read_use(folder_ / "none.h5"); }, "no such file");
  std::ofstream(folder_ / "text") << "no HDF5";
  expect_error([&] { launch::read_use(folder_ / "text"); }, "is not an HDF5 file");
  data::Hdf5File other = data::Hdf5File::create(folder_ / "other.h5");
  other.write<int64_t>("/numbers", {1, 2, 3});
  other.close();
  EXPECT_FALSE(launch::is_use_file(folder_ / "other.h5"));
  expect_error([&] { launch::read_use(folder_ / "other.h5"); }, "no recorded use of experts");
}

/// A file that claims more than it holds, and one with its end cut off.
TEST_F(UseFileTest, ClaimsAreHeldAgainstTheFile) {
  data::Hdf5File file = data::Hdf5File::create(path_);
  file.write_attribute("/", "format", "moetrain use of experts");
  file.write_attribute("/", "version", "1");
  file.create_group("/use");
  for (const char* name : {"run", "fingerprint", "recipe_hash"}) file.write_attribute("/use", name, "x");
  file.write_attribute("/use", "update", "7");
  file.write_blob("/use/groups", std::string("en\0", 3));
  file.write<int64_t>("/use/sizes", {0, 0, 1 << 24, 1 << 24, 2, 1 << 24, 1 << 24});
  file.create_group("/use/block_0_experts");
  file.write<int64_t>("/use/block_0_experts/units", {1, 2});
  file.close();
  // Each dataset by itself is bounded by the file; under two names its numbers would count twice.
  expect_error([&] { launch::read_use(path_); }, "says more numbers than the file holds");
  std::filesystem::remove(path_);
  launch::write_use(path_, use_);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  expect_error([&] { launch::read_use(path_); }, "truncated");
}

}  // namespace
