#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/shard.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/checkpoint/checksum.h"
#include "launch/checkpoint/hdf5_layout.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

/// Closes a file descriptor.
struct Descriptor {
  explicit Descriptor(int number) : number(number) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number;
};

/// 0, or the errno of the first write that failed.
int write_all(int file, const char* data, int64_t bytes, int64_t address) {
  while (bytes > 0) {
    const ssize_t written = ::pwrite(file, data, static_cast<size_t>(bytes), address);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return ENOSPC;
    data += written;
    bytes -= written;
    address += written;
  }
  return 0;
}

/// Signals are how a run is asked to stop, so they must not make a save fail.
int flush(int file) {
  while (::fsync(file) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/// Elements of a dataset that one rank writes: `begin` is their place in the dataset, `from` in the rank's own tensor.
struct WrittenRun {
  int64_t begin = 0, from = 0, count = 0;
};

/// The runs of this rank's share of a tensor's part.
std::vector<WrittenRun> own_runs(const CheckpointTensor& tensor, const parallel::Communicator& group) {
  const parallel::Placement placement = tensor.place();
  const data::Shard writer = tensor.placement ? data::Shard{.index = tensor.replica, .count = tensor.replicas}
                                              : data::Shard{.index = group.rank(), .count = group.size()};
  const data::IndexRange own = data::split_range(placement.local_elements(), writer);
  std::vector<WrittenRun> runs;
  int64_t place = 0;  // in the rank's own tensor
  for (const parallel::ElementRange& run : placement.runs) {
    const int64_t begin = std::max(own.begin, place), end = std::min(own.end, place + run.count);
    if (begin < end) runs.push_back({run.begin + begin - place, begin, end - begin});
    place += run.count;
  }
  return runs;
}

std::vector<DatasetPlan> plan_datasets(const std::vector<CheckpointTensor>& tensors, parallel::Communicator& group) {
  std::vector<DatasetPlan> plans;
  at::Tensor checksums = at::empty({static_cast<int64_t>(tensors.size())}, at::kLong);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i].tensor;
    const int64_t bytes = tensor.element_size();
    const char* data = static_cast<const char*>(tensor.const_data_ptr());
    uint64_t checksum = 0;
    for (const WrittenRun& run : own_runs(tensors[i], group)) {
      checksum += partial_checksum(data + run.from * bytes, bytes, run.count, run.begin);
    }
    checksums[static_cast<int64_t>(i)] = static_cast<int64_t>(checksum);
    plans.push_back({tensors[i].path, tensors[i].place().global_shape, tensor.scalar_type() == at::kDouble});
  }
  group.all_reduce(checksums, parallel::ReduceOp::kSum).wait();
  for (size_t i = 0; i < plans.size(); ++i) {
    plans[i].checksum = static_cast<uint64_t>(checksums[static_cast<int64_t>(i)].item<int64_t>());
  }
  return plans;
}

int write_runs(const std::filesystem::path& path, const std::vector<CheckpointTensor>& tensors,
               const std::vector<DatasetPlan>& plans, const parallel::Communicator& group) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.number < 0) return errno;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i].tensor;
    const int64_t bytes = tensor.element_size();
    const char* data = static_cast<const char*>(tensor.const_data_ptr());
    for (const WrittenRun& run : own_runs(tensors[i], group)) {
      const int error =
          write_all(file.number, data + run.from * bytes, run.count * bytes, plans[i].address + run.begin * bytes);
      if (error != 0) return error;
    }
  }
  return flush(file.number);
}

int64_t file_bytes(const std::vector<CheckpointTensor>& tensors) {
  int64_t bytes = 0;
  for (const CheckpointTensor& each : tensors) bytes += each.place().global_elements() * each.tensor.element_size();
  return bytes;
}

/// Tries, on one rank, whether there is room for the file before HDF5 comes: HDF5 1.10 that meets a full disk leaves
/// itself in a state that crashes the process at its end. HDF5 gives the room back and takes it anew; what another
/// program takes in between is met when the slices are written.
int try_room(const std::filesystem::path& path, const std::vector<CheckpointTensor>& tensors, int64_t text_bytes) {
  constexpr int64_t kBytesPerDataset = 4096;  // headers, attributes and group entries, generously
  const int64_t bytes =
      65536 + text_bytes + kBytesPerDataset * static_cast<int64_t>(tensors.size()) + file_bytes(tensors);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.number < 0) return errno;
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(file.number, 0, bytes);
  return error;
}

int rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return errno;
  const Descriptor folder(::open(to.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number >= 0) ::fsync(folder.number);
  return 0;
}

/// What one rank met, agreed: on every rank the text of the first rank that failed, thrown as a UserError there.
void agree(parallel::Communicator& group, const std::filesystem::path& path, const std::filesystem::path& temporary,
           const std::string& problem) {
  try {
    parallel::all_ranks(group, [&] {
      if (!problem.empty()) parallel::user_error("cannot save ", path.string(), ": ", problem);
    });
  } catch (const parallel::UserError&) {
    std::error_code ignored;
    if (group.rank() == 0) std::filesystem::remove(temporary, ignored);
    parallel::all_ranks(group, [] {});  // nobody goes on before it is gone
    throw;
  }
}

}  // namespace

int64_t write_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                         const std::vector<CheckpointTensor>& tensors, parallel::Communicator& group) {
  std::vector<CheckpointTensor> host;
  for (const CheckpointTensor& tensor : tensors) {
    host.push_back(tensor);
    host.back().tensor = tensor.tensor.detach().to(at::kCPU).contiguous();
  }
  std::vector<DatasetPlan> plans = plan_datasets(host, group);
  const std::filesystem::path temporary = path.string() + ".writing";
  std::error_code folder_error;
  std::filesystem::create_directories(path.parent_path(), folder_error);
  agree(group, path, temporary, folder_error ? folder_error.message() : "");
  const int room_error =
      group.rank() == 0 ? try_room(temporary, host, static_cast<int64_t>(info.recipe.size() + info.plan.size())) : 0;
  agree(group, path, temporary, room_error != 0 ? std::strerror(room_error) : "");
  agree(group, path, temporary, create_layout(temporary, info, plans, group));
  const int write_error = write_runs(temporary, host, plans, group);
  agree(group, path, temporary, write_error != 0 ? std::strerror(write_error) : "");
  const int rename_error = group.rank() == 0 ? rename_durably(temporary, path) : 0;
  agree(group, path, temporary, rename_error != 0 ? std::strerror(rename_error) : "");
  return file_bytes(host);
}

}  // namespace launch
