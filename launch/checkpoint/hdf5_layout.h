// defines: create_layout, write_checksums, DatasetPlan, stored_type, element_type_of: the file's structure, made by all
// ranks at once
#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/hdf5/handle.h"
#include "launch/checkpoint/checkpoint.h"

namespace launch {

/// 2: checksums count elements. (1 counted words of 8 bytes.)
constexpr int64_t kCheckpointFormat = 2;

struct DatasetPlan {
  std::string path;
  std::vector<int64_t> shape;        // global
  at::ScalarType type = at::kFloat;  // float64, float32, float16 or bfloat16
  uint64_t checksum = 0;
  int64_t address = 0;  // filled by create_layout: byte address of the first element
};

/// Creates `path` with every dataset contiguous and allocated, and its attributes; closes it again.
/// The one place where parallel HDF5 is called; runs on the MPI thread where `group` is an MPI one. Collective.
/// Returns an empty text, or what went wrong on this rank.
std::string create_layout(const std::filesystem::path& path, const CheckpointInfo& info,
                          std::vector<DatasetPlan>& datasets, parallel::Communicator& group);

/// Writes the checksums of `datasets` into a file made by create_layout, where they were not known then. On one rank.
/// Returns an empty text, or what went wrong.
std::string write_checksums(const std::filesystem::path& path, const std::vector<DatasetPlan>& datasets);

/// How HDF5 stores a type, little-endian.
data::Hdf5Handle stored_type(at::ScalarType type);
/// The other way; nullopt for what no checkpoint holds.
std::optional<at::ScalarType> element_type_of(hid_t stored);

}  // namespace launch
