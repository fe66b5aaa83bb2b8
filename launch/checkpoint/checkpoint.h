// One HDF5 file for each saved update, independent of the layout that wrote it.
// defines: CheckpointTensor, CheckpointInfo, DamagedCheckpoint, write_checkpoint, read_checkpoint_info,
// read_checkpoint, StoredTensor, dtype_name, scalar_type_of, stored_tensors, all_finite, StreamedTensor,
// stream_checkpoint, checkpoint_updates, checkpoint_path, newest_update, aside_of, set_aside,
// prune_checkpoints, BestScore, chosen_update, chosen_checkpoint
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/comm/communicator.h"
#include "parallel/mesh/placement.h"

namespace launch {

/// A dataset of the file, in global shape: "parameters/<name>" or "optimizer/<slot>/<name>".
struct CheckpointTensor {
  std::string path;
  at::Tensor tensor;  // of a type that a file may hold, or, of a reader, any other; on any device
  /// Which part of the dataset `tensor` is; nullopt: all of it, the same on every rank.
  std::optional<parallel::Placement> placement = {};
  /// This rank is number `replica` of the `replicas` that hold the same part, and share its writing. Not used where
  /// there is no placement.
  int64_t replica = 0, replicas = 1;

  parallel::Placement place() const { return placement ? *placement : parallel::whole_placement(tensor.sizes().vec()); }
};

/// The evaluation of a run whose held-out loss was the lowest.
struct BestScore {
  int64_t update = -1;  // -1: none yet
  double loss = 0;      // [nats a target]
  int64_t since = 0;    // evaluations after it
};

/// What the file says beside its tensors.
struct CheckpointInfo {
  int64_t update = 0;     // updates done
  int64_t sequences = 0;  // sequences consumed; -1 where they are not counted (sentence pairs)
  int64_t tokens = 0;     // tokens consumed
  int64_t vocabulary = 0;
  std::string tokenizer_hash;  // of the vocabulary it was trained with
  std::string corpus;          // fingerprint of the token file: what the data position counts in
  std::string recipe;          // the resolved recipe, of a run of stages that of the stage at hand
  std::string plan;            // the plan followed, as JSON; empty in older files
  std::string build;
  BestScore best = {};      // so far, of a run that evaluates
  std::string stages = {};  // of a run of stages those begun (StageHistory)
};

/// A file that is no whole checkpoint any more, or one of a run that had diverged. what() goes on to name an older
/// checkpoint that would do; `reason` does not.
struct DamagedCheckpoint : parallel::UserError {
  DamagedCheckpoint(const std::string& why, const std::string& way_out)
      : parallel::UserError(why + way_out), reason(why) {}
  std::string reason;
};

/// Writes `path`: all ranks create the file and its datasets (parallel HDF5) under a temporary name, then each rank
/// writes its share of every dataset at its byte addresses, flushes, and the errors of all ranks are reduced before the
/// file gets its name. On any failure the temporary file is removed, no other file is touched, and every rank gets
/// the UserError. Collective over `group` (CPU tensors). Returns the file's bytes.
int64_t write_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                         const std::vector<CheckpointTensor>& tensors, parallel::Communicator& group);

/// A dataset that is made piece by piece, so that a file costs the memory of a few pieces.
struct StreamedTensor {
  std::string path;
  std::vector<int64_t> shape;  // global
  at::ScalarType type = at::kFloat;
  /// Elements of the whole, in its order, into `out`.
  std::function<void(const parallel::ElementRange& elements, void* out)> read;
};

/// Writes `path` as write_checkpoint does, each rank an even part of each tensor. `read` may throw UserError.
/// Collective. Returns the file's bytes.
int64_t stream_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                          const std::vector<StreamedTensor>& tensors, parallel::Communicator& group);

/// DamagedCheckpoint where it cannot be read, or is not of the update that its name says.
CheckpointInfo read_checkpoint_info(const std::filesystem::path& path);

/// Fills every tensor from its part of the dataset of its path and checks each checksum. A missing, spare or misshapen
/// dataset is a UserError that names it, and nothing is filled before names and shapes are all found right. A damaged
/// one, or one that holds a number that is not finite, is a DamagedCheckpoint.
void read_checkpoint(const std::filesystem::path& path, const std::vector<CheckpointTensor>& tensors);

/// A dataset as it lies in the file.
struct StoredTensor {
  std::string path;
  std::vector<int64_t> shape;  // global
  at::ScalarType type = at::kFloat;
  uint64_t checksum = 0;
  int64_t address = 0;  // [byte] of its first element; within the file, as all others are
  int64_t elements() const;
};

/// "F64", "F32", "F16" or "BF16", and back.
std::string dtype_name(at::ScalarType type);
at::ScalarType scalar_type_of(const std::string& dtype);

/// The datasets below `group` ("parameters", "buffers", "optimizer/SLOT"), by name; none where there is no such group.
/// DamagedCheckpoint where they cannot be read.
std::vector<StoredTensor> stored_tensors(const std::filesystem::path& path, const std::string& group);

/// Whether no element is infinite or NaN.
bool all_finite(const at::Tensor& tensor);

/// Updates of the complete checkpoints of a run, oldest first.
std::vector<int64_t> checkpoint_updates(const std::filesystem::path& run_folder);
/// The same, as rank 0 sees them. Collective.
std::vector<int64_t> checkpoint_updates(const std::filesystem::path& run_folder, parallel::Communicator& group);

/// Names files checkpoints/update_<12 digits>.h5 of a run folder.
std::filesystem::path checkpoint_path(const std::filesystem::path& run_folder, int64_t update);
/// The update that a checkpoint's name says, or -1: another file that somebody put there is left alone.
int64_t update_of(const std::filesystem::path& checkpoint);
/// The largest update of a complete checkpoint, -1 where there is none. Rank 0 looks, so that all ranks take the same
/// one even where their views of a shared folder differ for a moment. Collective.
int64_t newest_update(const std::filesystem::path& run_folder, parallel::Communicator& group);
/// The name that a checkpoint that cannot be used gets, so that it is none any more.
std::filesystem::path aside_of(const std::filesystem::path& checkpoint);
/// Gives it that name, which it returns.
std::filesystem::path set_aside(const std::filesystem::path& checkpoint);
/// Removes all but the `keep` newest and that of update `besides`, and temporary files of writers that died.
void prune_checkpoints(const std::filesystem::path& run_folder, int64_t keep, int64_t besides = -1);

/// The update of the checkpoint that a user chose: a number, "best" (CheckpointInfo::best of the newest) or, with no
/// text, the newest; -1 where there is none at all. UserError where the run has not kept it, or knows no best.
/// Collective.
int64_t chosen_update(const std::filesystem::path& run_folder, const std::string& choice,
                      parallel::Communicator& group);
/// Its file. UserError where there is none at all.
std::filesystem::path chosen_checkpoint(const std::filesystem::path& run_folder, const std::string& choice = {});

}  // namespace launch
