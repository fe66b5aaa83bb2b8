#include "launch/checkpoint/hdf5_layout.h"

#include <hdf5.h>
#include <mpi.h>

#include <stdexcept>

#include "data/hdf5/handle.h"
#include "parallel/base/fault.h"
#include "parallel/comm/checked_communicator.h"
#include "parallel/comm/mpi_communicator.h"

namespace launch {
namespace {

using parallel::concat;

/// The identifier, or an exception that says what failed.
data::Hdf5Handle checked(hid_t id, herr_t (*close)(hid_t), const char* what) {
  if (id < 0) throw std::runtime_error(concat("HDF5: ", what, " failed: ", data::hdf5_reason()));
  return {id, close};
}

void write_text(hid_t object, const char* name, const std::string& text) {
  const auto type = checked(H5Tcopy(H5T_C_S1), H5Tclose, "H5Tcopy");
  H5Tset_size(type.id(), text.empty() ? 1 : text.size());
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const auto space = checked(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate");
  const auto attribute =
      checked(H5Acreate2(object, name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, name);
  if (H5Awrite(attribute.id(), type.id(), text.empty() ? "\0" : text.data()) < 0) throw std::runtime_error(name);
}

void write_number(hid_t object, const char* name, hid_t type, const void* value) {
  const auto space = checked(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate");
  const auto attribute = checked(H5Acreate2(object, name, type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, name);
  if (H5Awrite(attribute.id(), type, value) < 0) throw std::runtime_error(name);
}

/// A dataset, as an attribute holds no more than 64 KiB.
void write_long_text(hid_t file, const char* name, const std::string& text) {
  const hsize_t length = text.size();
  const auto space = checked(H5Screate_simple(1, &length, nullptr), H5Sclose, "H5Screate_simple");
  const auto dataset = checked(
      H5Dcreate2(file, name, H5T_NATIVE_UINT8, space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, name);
  if (H5Dwrite(dataset.id(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    throw std::runtime_error(concat("HDF5: writing ", name, " failed"));
  }
}

void write_info(hid_t file, const CheckpointInfo& info) {
  const int64_t format = kCheckpointFormat;
  write_number(file, "format", H5T_NATIVE_INT64, &format);
  write_number(file, "update", H5T_NATIVE_INT64, &info.update);
  write_number(file, "sequences", H5T_NATIVE_INT64, &info.sequences);
  write_number(file, "tokens", H5T_NATIVE_INT64, &info.tokens);
  write_number(file, "vocabulary", H5T_NATIVE_INT64, &info.vocabulary);
  write_text(file, "tokenizer_hash", info.tokenizer_hash);
  write_text(file, "corpus", info.corpus);
  write_text(file, "build", info.build);
  if (info.best.update >= 0) {
    write_number(file, "best_update", H5T_NATIVE_INT64, &info.best.update);
    write_number(file, "best_loss", H5T_NATIVE_DOUBLE, &info.best.loss);
    write_number(file, "evaluations_since_best", H5T_NATIVE_INT64, &info.best.since);
  }
  write_long_text(file, "recipe", info.recipe);
  if (!info.plan.empty()) write_long_text(file, "plan", info.plan);
  if (!info.stages.empty()) write_long_text(file, "stages", info.stages);
}

void create_dataset(hid_t file, hid_t link_properties, hid_t creation, DatasetPlan& plan) {
  const std::vector<hsize_t> dims(plan.shape.begin(), plan.shape.end());
  const auto space =
      checked(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, "H5Screate_simple");
  const data::Hdf5Handle type = stored_type(plan.type);
  const auto dataset =
      checked(H5Dcreate2(file, plan.path.c_str(), type.id(), space.id(), link_properties, creation, H5P_DEFAULT),
              H5Dclose, plan.path.c_str());
  write_number(dataset.id(), "checksum", H5T_NATIVE_UINT64, &plan.checksum);
  const haddr_t address = H5Dget_offset(dataset.id());
  if (address == HADDR_UNDEF) throw std::runtime_error(concat("HDF5: ", plan.path, " has no place in the file"));
  plan.address = static_cast<int64_t>(address);
}

void create_file(const std::filesystem::path& path, const CheckpointInfo& info, std::vector<DatasetPlan>& datasets,
                 MPI_Comm comm) {
  const data::QuietHdf5 quiet;  // failures are exceptions here
  const auto access = checked(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "H5Pcreate");
  if (comm != MPI_COMM_NULL && H5Pset_fapl_mpio(access.id(), comm, MPI_INFO_NULL) < 0) {
    throw std::runtime_error("HDF5: H5Pset_fapl_mpio failed");
  }
  auto file = checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), H5Fclose, "creating the file");
  const auto links = checked(H5Pcreate(H5P_LINK_CREATE), H5Pclose, "H5Pcreate");
  H5Pset_create_intermediate_group(links.id(), 1);
  const auto creation = checked(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "H5Pcreate");
  H5Pset_layout(creation.id(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER);
  write_info(file.id(), info);
  for (DatasetPlan& plan : datasets) create_dataset(file.id(), links.id(), creation.id(), plan);
  if (H5Fflush(file.id(), H5F_SCOPE_GLOBAL) < 0) throw std::runtime_error("HDF5: writing the file's structure failed");
}

/// Of 16 bits, 1 of them the sign.
data::Hdf5Handle short_float(size_t exponent_bits) {
  data::Hdf5Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  const size_t mantissa_bits = 15 - exponent_bits;
  H5Tset_fields(type.id(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_size(type.id(), 2);
  H5Tset_ebias(type.id(), (size_t{1} << (exponent_bits - 1)) - 1);
  return type;
}

}  // namespace

data::Hdf5Handle stored_type(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
    case at::kFloat:
      return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
    case at::kHalf:
      return short_float(5);
    default:
      parallel::check_internal(type == at::kBFloat16, "a checkpoint of ", type);
      return short_float(8);
  }
}

std::optional<at::ScalarType> element_type_of(hid_t stored) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    if (H5Tequal(stored, stored_type(type).id()) > 0) return type;
  }
  return std::nullopt;
}

std::string write_checksums(const std::filesystem::path& path, const std::vector<DatasetPlan>& datasets) {
  const data::QuietHdf5 quiet;
  try {
    const auto access = checked(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "H5Pcreate");
    H5Pset_file_locking(access.id(), false, true);  // cluster file systems often know no locks
    const auto file = checked(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.id()), H5Fclose, "opening the file");
    for (const DatasetPlan& plan : datasets) {
      const auto dataset = checked(H5Dopen2(file.id(), plan.path.c_str(), H5P_DEFAULT), H5Dclose, plan.path.c_str());
      const auto attribute = checked(H5Aopen(dataset.id(), "checksum", H5P_DEFAULT), H5Aclose, plan.path.c_str());
      if (H5Awrite(attribute.id(), H5T_NATIVE_UINT64, &plan.checksum) < 0) {
        throw std::runtime_error(concat("HDF5: the checksum of ", plan.path, ": ", data::hdf5_reason()));
      }
    }
    if (H5Fflush(file.id(), H5F_SCOPE_GLOBAL) < 0) throw std::runtime_error("HDF5: writing the checksums failed");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

std::string create_layout(const std::filesystem::path& path, const CheckpointInfo& info,
                          std::vector<DatasetPlan>& datasets, parallel::Communicator& group) {
  auto* mpi = dynamic_cast<parallel::MpiCommunicator*>(&parallel::unwrapped(group));
  try {
    if (mpi == nullptr || group.size() == 1) {  // alone, MPI's file layer would only add its noise
      create_file(path, info, datasets, MPI_COMM_NULL);
    } else {
      mpi->engine().run([&] { create_file(path, info, datasets, reinterpret_cast<MPI_Comm>(mpi->native())); });
    }
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

}  // namespace launch
