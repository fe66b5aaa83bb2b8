// One HDF5 file for each saved update, independent of the layout that wrote it.
// defines: CheckpointTensor, CheckpointInfo, write_checkpoint, read_checkpoint_info, read_checkpoint, newest_checkpoint
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "parallel/comm/communicator.h"

namespace launch {

/// A dataset of the file, in global shape: "parameters/<name>" or "optimizer/<slot>/<name>".
struct CheckpointTensor {
  std::string path;
  at::Tensor tensor;  // float32 or float64, on any device; the same on every rank
};

/// What the file says beside its tensors.
struct CheckpointInfo {
  int64_t update = 0;          // updates done
  int64_t sequences = 0;       // data position: sequences consumed
  int64_t tokens = 0;          // tokens consumed
  int64_t vocabulary = 0;
  std::string tokenizer_hash;  // of the vocabulary it was trained with
  std::string recipe;          // the resolved recipe
  std::string build;
};

/// Writes `path`: all ranks create the file and its datasets (parallel HDF5) under a temporary name, then each rank
/// writes its slice of every dataset at its byte address, flushes, and the errors of all ranks are reduced before the
/// file gets its name. On any failure the temporary file is removed, no other file is touched, and every rank gets
/// the UserError. Collective over `group` (CPU tensors). Returns the file's bytes.
int64_t write_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                         const std::vector<CheckpointTensor>& tensors, parallel::Communicator& group);

CheckpointInfo read_checkpoint_info(const std::filesystem::path& path);

/// Fills every tensor from the dataset of its path and checks each checksum. With `exact` the file may hold no
/// parameter that `tensors` lacks. A missing, spare, misshapen or damaged dataset is a UserError that names it, and
/// nothing is filled before names and shapes are all found right.
void read_checkpoint(const std::filesystem::path& path, const std::vector<CheckpointTensor>& tensors);

/// Names files checkpoints/update_<12 digits>.h5 of a run folder.
std::filesystem::path checkpoint_path(const std::filesystem::path& run_folder, int64_t update);
/// The checkpoint with the largest update; empty where there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run_folder);
/// Removes all but the `keep` newest, and temporary files of writers that died.
void prune_checkpoints(const std::filesystem::path& run_folder, int64_t keep);

}  // namespace launch
