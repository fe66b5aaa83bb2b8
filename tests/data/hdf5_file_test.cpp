#include <hdf5.h>

#include "data/hdf5/file.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

TEST(Hdf5File, WrongTypesAndSizesAreRefusedBeforeAnythingIsAllocated) {
  const TemporaryFolder folder;
  data::Hdf5File file = data::Hdf5File::create(folder / "a.h5");
  file.write<int32_t>("/numbers", {1, 2, 3});
  file.write<int64_t>("/none", {});
  file.close();
  const data::Hdf5File in = data::Hdf5File::open(folder / "a.h5");
  EXPECT_EQ(in.read<int32_t>("/numbers", 3), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_TRUE(in.read<int64_t>("/none", 3).empty());
  EXPECT_NE(error_of([&] { in.read<int64_t>("/numbers", 9); }).find("elements of int32, not int64"), std::string::npos);
  EXPECT_NE(error_of([&] { in.read<int32_t>("/numbers", 2); }).find("3 elements; at most 2"), std::string::npos);
  EXPECT_NE(error_of([&] { in.read<int32_t>("/nothing", 2); }).find("has no '/nothing'"), std::string::npos);
  EXPECT_NE(error_of([&] { data::Hdf5File::create(folder / "a.h5"); }).find("exists"), std::string::npos);
}

/// Makes /d with HDF5 itself: what a hostile or foreign writer may do.
template <class Make>
std::string place_error(const TemporaryFolder& folder, const Make& make) {
  const std::string path = folder / "hostile.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  make(file);
  H5Fclose(file);
  return error_of([&] { data::Hdf5File::open(path).read<int64_t>("/d", 1ll << 60); });
}

void make_dataset(hid_t file, std::vector<hsize_t> shape, hid_t properties) {
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  H5Dclose(H5Dcreate2(file, "/d", H5T_STD_I64LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
  H5Sclose(space);
}

TEST(Hdf5File, HostileStorageIsRefused) {
  const TemporaryFolder folder;
  const auto with = [&](const std::vector<hsize_t>& shape, auto&& set) {
    return place_error(folder, [&](hid_t file) {
      const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
      set(properties);
      make_dataset(file, shape, properties);
      H5Pclose(properties);
    });
  };
  const hsize_t chunk = 16;
  EXPECT_NE(with({1ull << 50}, [&](hid_t p) { H5Pset_chunk(p, 1, &chunk); }).find("contiguous piece"),
            std::string::npos);
  EXPECT_NE(with({1ull << 50}, [](hid_t p) { H5Pset_alloc_time(p, H5D_ALLOC_TIME_LATE); }).find("more than the file"),
            std::string::npos)
      << "claims petabytes, holds none";
  EXPECT_NE(with({4}, [](hid_t p) { H5Pset_external(p, "/etc/passwd", 0, 32); }).find("contiguous piece"),
            std::string::npos);
  EXPECT_NE(with({2, 2}, [](hid_t) {}).find("not one-dimensional"), std::string::npos);
  const auto linked = [](hid_t file) {
    H5Lcreate_external("/tmp/other.h5", "/x", file, "/d", H5P_DEFAULT, H5P_DEFAULT);
  };
  EXPECT_NE(place_error(folder, linked).find("is a link"), std::string::npos);
}

TEST(Hdf5File, WhoeverPrintsErrorsKeepsDoingSo) {
  const TemporaryFolder folder;
  H5E_auto2_t before = nullptr, after = nullptr;
  void* argument = nullptr;
  H5Eget_auto2(H5E_DEFAULT, &before, &argument);
  testing::internal::CaptureStderr();
  error_of([&] { data::Hdf5File::open(folder / "none.h5"); });
  write_file(folder / "bad.h5", "no");
  error_of([&] { data::Hdf5File::open(folder / "bad.h5"); });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "one message, from us";
  H5Eget_auto2(H5E_DEFAULT, &after, &argument);
  EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace data_tests
