#include "launch/interchange/tensors/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "launch/interchange/output_folder.h"
#include "parallel/base/random.h"
#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

TensorToWrite counting(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
  return {.name = name, .dtype = dtype, .shape = shape, .fill = [](std::span<std::byte> bytes) {
            for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
          }};
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A file's bytes: the header with its length, then `data_bytes` zeros.
std::string file_bytes(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + std::string(data_bytes, '\0');
}

std::vector<std::byte> bytes_of(const SafetensorsFile& file, const std::string& name) {
  const auto* data = static_cast<const std::byte*>(file.view(name).data);
  return {data, data + file.tensors().at(name).bytes};
}

TEST(Safetensors, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  const std::vector<TensorToWrite> written = {counting("half", "BF16", {3}), counting("matrix", "F32", {2, 5}),
                                              counting("number", "F64", {}), counting("none", "F32", {0, 7})};
  write_safetensors(path, written);
  SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), written.size());
  for (const TensorToWrite& tensor : written) {
    const TensorPlace& stored = file.tensors().at(tensor.name);
    EXPECT_EQ(stored.dtype, tensor.dtype);
    EXPECT_EQ(stored.shape, tensor.shape);
    std::vector<std::byte> expected(stored.bytes);
    tensor.fill(expected);
    EXPECT_EQ(bytes_of(file, tensor.name), expected) << tensor.name;
  }
}

TEST(Safetensors, EveryTensorIsAligned) {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_safetensors(path, {counting("a", "BF16", {1}), counting("bb", "F32", {1}), counting("c", "U8", {3}),
                           counting("d", "F64", {1})});
  const SafetensorsFile file(path);
  for (const auto& [name, tensor] : file.tensors()) {
    EXPECT_EQ(tensor.offset % static_cast<uint64_t>(element_bytes(tensor.dtype)), 0u) << name;
  }
}

TEST(Safetensors, MarksTheFileAsTransformersExpects) {
  const TemporaryFolder folder;
  write_safetensors(folder / "empty.safetensors", {});
  EXPECT_NE(read_file(folder / "empty.safetensors").find(R"("__metadata__":{"format":"pt"})"), std::string::npos);
  EXPECT_TRUE(SafetensorsFile(folder / "empty.safetensors").tensors().empty());
}

TEST(Safetensors, TheSameNameTwiceIsOurFault) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_safetensors(folder / "x", {counting("a", "F32", {1}), counting("a", "F32", {1})}),
               parallel::InternalError);
}

TEST(Safetensors, AFullDiskIsNamed) {
  expect_user_error([] { write_safetensors("/dev/full", {counting("a", "F32", {1})}); },
                    {"/dev/full", "No space left on device"});
}

TEST(Safetensors, ElementCountRefusesWhatDoesNotFit) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({3, 0, 5}), 0);
  EXPECT_EQ(element_count({2, 3}), 6);
  expect_user_error([] { element_count({int64_t{1} << 40, int64_t{1} << 40}); }, {"[1099511627776, 1099511627776]"});
  expect_user_error([] { element_count({-1}); }, {"[-1]"});
}

struct Hostile {
  std::string name;
  std::string bytes;
  std::string expected;
};

class HostileSafetensors : public testing::TestWithParam<Hostile> {};

TEST_P(HostileSafetensors, IsRefusedByName) {
  const TemporaryFolder folder;
  write_file(folder / "bad.safetensors", GetParam().bytes);
  expect_user_error([&] { SafetensorsFile(folder / "bad.safetensors"); }, {"bad.safetensors", GetParam().expected});
}

std::string one_tensor(const std::string& entry, size_t data_bytes) {
  return file_bytes(R"({"t":)" + entry + "}", data_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileSafetensors,
    testing::Values(
        Hostile{"empty", "", "too short"}, Hostile{"seven_bytes", "1234567", "too short"},
        Hostile{"huge_header", std::string(8, '\xff') + "{}", "claims a header of 18446744073709551615 bytes"},
        Hostile{"header_past_end", file_bytes("{}", 0).substr(0, 9), "claims a header of 2 bytes in a file of 9"},
        Hostile{"html", "<!DOCTYPE html><html></html>", "claims a header"},
        Hostile{"not_json", file_bytes("{\"t\":", 0), "not a JSON object"},
        Hostile{"array", file_bytes("[]", 0), "not a JSON object"},
        Hostile{"nested", file_bytes(std::string(200000, '['), 0), "not a JSON object"},
        Hostile{"not_utf8", file_bytes("{\"\xff\":1}", 0), "not a JSON object"},
        Hostile{"entry_is_number", one_tensor("1", 0), "tensor 't'"},
        Hostile{"no_dtype", one_tensor(R"({"shape":[1],"data_offsets":[0,4]})", 4), "needs dtype"},
        Hostile{"dtype_is_number", one_tensor(R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})", 4), "needs dtype"},
        Hostile{"unknown_dtype", one_tensor(R"({"dtype":"F31","shape":[1],"data_offsets":[0,4]})", 4), "dtype 'F31'"},
        Hostile{"negative_size", one_tensor(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4), "needs dtype"},
        Hostile{"fraction", one_tensor(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})", 4), "needs dtype"},
        Hostile{"shape_overflow",
                one_tensor(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0), "no number"},
        Hostile{"huge_size", one_tensor(R"({"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]})", 4),
                "needs dtype"},
        Hostile{"past_end", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 4), "do not lie in"},
        Hostile{"backwards", one_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4), "do not lie in"},
        Hostile{"three_offsets", one_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,2,4]})", 4), "needs dtype"},
        Hostile{"wrong_size", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4), "needs 8 bytes"},
        Hostile{"uncovered", one_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 5), "cover 4 of 5"},
        Hostile{"gap", one_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8), "gap at data byte 0"},
        Hostile{"overlap",
                file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                           8),
                "overlap"},
        Hostile{"twice",
                file_bytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                           R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                           4),
                "'a' twice"}),
    [](const auto& each) { return each.param.name; });

TEST(Safetensors, AMissingFileOrTensorIsNamed) {
  const TemporaryFolder folder;
  expect_user_error([&] { SafetensorsFile(folder / "none"); }, {"none", "cannot be opened"});
  expect_user_error([&] { SafetensorsFile{folder.path()}; }, {folder.path().string()});
  write_safetensors(folder / "one", {counting("a", "F32", {1})});
  expect_user_error([&] { SafetensorsFile(folder / "one").view("b"); }, {"one", "no tensor 'b'"});
}

TEST(Safetensors, DamageIsAUserErrorOrHarmless) {
  const TemporaryFolder folder;
  write_safetensors(folder / "good", {counting("first", "F32", {2, 3}), counting("second", "BF16", {4})});
  const std::string good = read_file(folder / "good");
  const parallel::RandomStream stream(1, "damage");
  int refused = 0;
  for (int64_t trial = 0; trial < 3000; ++trial) {
    std::string damaged = good;
    for (int64_t flip = 0; flip < 3; ++flip) {
      const int64_t at = stream.below(8 * trial + 2 * flip, static_cast<int64_t>(good.size()));
      damaged[static_cast<size_t>(at)] = static_cast<char>(stream.below(8 * trial + 2 * flip + 1, 256));
    }
    write_file(folder / "damaged", damaged);
    try {
      SafetensorsFile file(folder / "damaged");
      for (const auto& [name, tensor] : file.tensors()) EXPECT_EQ(bytes_of(file, name).size(), tensor.bytes);
    } catch (const parallel::UserError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace launch::interchange
