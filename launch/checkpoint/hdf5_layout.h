// defines: create_layout, DatasetPlan: the file's structure, made by all ranks at once
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"

namespace launch {

/// 2: checksums count elements. (1 counted words of 8 bytes.)
constexpr int64_t kCheckpointFormat = 2;

struct DatasetPlan {
  std::string path;
  std::vector<int64_t> shape;  // global
  bool is_double = false;
  uint64_t checksum = 0;
  int64_t address = 0;  // filled by create_layout: byte address of the first element
};

/// Creates `path` with every dataset contiguous and allocated, and its attributes; closes it again.
/// The one place where parallel HDF5 is called; runs on the MPI thread where `group` is an MPI one. Collective.
/// Returns an empty text, or what went wrong on this rank.
std::string create_layout(const std::filesystem::path& path, const CheckpointInfo& info,
                          std::vector<DatasetPlan>& datasets, parallel::Communicator& group);

}  // namespace launch
