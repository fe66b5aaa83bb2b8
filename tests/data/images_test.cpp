// Images: PNG files in and out, folders of classes, the token file that holds them.
#include <gtest/gtest.h>

#include "data/images/png.h"
#include "data/prepare/prepare.h"
#include "data/sources/image_folder.h"
#include "parallel/base/fault.h"
#include "tests/data/support.h"

namespace data {
namespace {

namespace fs = std::filesystem;

using data_tests::error_of, data_tests::read_file, data_tests::write_file;

class ImagesTest : public testing::Test {
 protected:
  fs::path put(const std::string& group, const std::string& name, const ImageShape& shape, uint8_t first) {
    Image image{.shape = shape};
    for (int64_t i = 0; i < shape.bytes(); ++i) image.pixels.push_back(static_cast<uint8_t>(first + 7 * i));
    fs::create_directories(folder_ / "set" / group);
    write_png(folder_ / "set" / group / name, image);
    return folder_ / "set" / group / name;
  }
  PrepareOptions options(double heldout = 0.25) const {
    PrepareOptions all;
    all.images = folder_ / "set";
    all.heldout = heldout;
    all.output = folder_ / "images.h5";
    return all;
  }

  data_tests::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(ImagesTest, PixelsComeBackAsTheyWere) {
  for (const ImageShape shape : {ImageShape{3, 5, 1}, ImageShape{4, 2, 3}}) {
    const Image image = read_png(put("a", "one.png", shape, 250));
    EXPECT_EQ(image.shape, shape);
    EXPECT_EQ(image.pixels[1], static_cast<uint8_t>(257));
  }
}

TEST_F(ImagesTest, ATokenFileHoldsThemWhole) {
  for (int i = 0; i < 24; ++i) {
    put(i % 3 == 0 ? "cat" : "dog", std::to_string(i) + ".png", {2, 3, 1}, static_cast<uint8_t>(10 * i));
  }
  put("dog", "again.png", {2, 3, 1}, 10);  // a copy
  const PrepareSummary summary = prepare(options());
  EXPECT_EQ(summary.duplicates, 1);
  const TokenCorpus corpus = TokenCorpus::open(folder_ / "images.h5");
  ASSERT_TRUE(corpus.image().has_value());
  EXPECT_EQ(*corpus.image(), (ImageShape{2, 3, 1}));
  EXPECT_EQ(corpus.groups(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(corpus.documents(), 24);
  int64_t held_out = 0;
  for (int64_t i = 0; i < 24; ++i) {
    EXPECT_EQ(corpus.document(i).tokens, 7);
    held_out += corpus.document(i).split == Split::kHeldOut;
  }
  EXPECT_GE(held_out, 2);
  EXPECT_LE(held_out, 10);
}

TEST_F(ImagesTest, WhatIsNoSetOfImagesIsTheUsersFault) {
  const auto fault = [&] { return error_of([&] { prepare(options()); }); };
  fs::create_directories(folder_ / "set");
  EXPECT_NE(fault().find("holds no image; legal: a folder with a folder of .png files for each class"),
            std::string::npos);
  put("cat", "1.png", {2, 3, 1}, 1);
  const fs::path other = put("cat", "2.png", {3, 3, 1}, 2);
  EXPECT_NE(fault().find(other.string() + ": is 3x3x1 (height, width, channels), and "), std::string::npos) << fault();
  write_file(other, "no image");
  EXPECT_NE(fault().find(other.string() + ": is no PNG image that can be read"), std::string::npos) << fault();
  const std::string whole = read_file(put("cat", "3.png", {40, 40, 3}, 3));
  fs::remove(other);
  fs::remove(folder_ / "set/cat/1.png");
  write_file(folder_ / "set/cat/3.png", whole.substr(0, whole.size() / 2));
  EXPECT_NE(fault().find("3.png: is a damaged PNG image"), std::string::npos) << fault();
  EXPECT_FALSE(fs::exists(folder_ / "images.h5"));
}

TEST_F(ImagesTest, AHeaderThatClaimsTooMuchGetsNoMemory) {
  std::string bytes = read_file(put("cat", "1.png", {2, 3, 1}, 1));
  bytes[16] = '\x7f';  // a width of 2 billion pixels; its checksum is wrong then too
  write_file(folder_ / "set/cat/1.png", bytes);
  EXPECT_NE(error_of([&] { read_png(folder_ / "set/cat/1.png"); }).find("1.png: is "), std::string::npos);
}

TEST_F(ImagesTest, TooFewImagesAreNotCut) {
  put("cat", "1.png", {20, 20, 1}, 1);
  EXPECT_NE(error_of([&] { prepare(options()); }).find("class 'cat' has too few images to hold some out"),
            std::string::npos);
  EXPECT_EQ(prepare(options(0)).groups.at(0).train.documents, 1);
}

}  // namespace
}  // namespace data
