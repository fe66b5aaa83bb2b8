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

int64_t elements_of(const StreamedTensor& tensor) {
  int64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= dim;
  return count;
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
    plans.push_back({tensors[i].path, tensors[i].place().global_shape, tensor.scalar_type()});
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

int64_t file_bytes(const std::vector<StreamedTensor>& tensors) {
  int64_t bytes = 0;
  for (const StreamedTensor& each : tensors) bytes += elements_of(each) * c10::elementSize(each.type);
  return bytes;
}

/// Tries, on one rank, whether there is room for the file before HDF5 comes: HDF5 1.10 that meets a full disk leaves
/// itself in a state that crashes the process at its end. HDF5 gives the room back and takes it anew; what another
/// program takes in between is met when the slices are written.
int try_room(const std::filesystem::path& path, int64_t datasets, int64_t data_bytes, int64_t text_bytes) {
  constexpr int64_t kBytesPerDataset = 4096;  // headers, attributes and group entries, generously
  const int64_t bytes = 65536 + text_bytes + kBytesPerDataset * datasets + data_bytes;
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

/// The file under a temporary name: room, structure, what `fill` writes on each rank (an errno), then its own name.
void make_file(const std::filesystem::path& path, const CheckpointInfo& info, std::vector<DatasetPlan>& plans,
               int64_t data_bytes, parallel::Communicator& group,
               const std::function<int(const std::filesystem::path& temporary)>& fill) {
  const std::filesystem::path temporary = path.string() + ".writing";
  std::error_code folder_error;
  std::filesystem::create_directories(path.parent_path(), folder_error);
  agree(group, path, temporary, folder_error ? folder_error.message() : "");
  const int room_error = group.rank() == 0
                             ? try_room(temporary, std::ssize(plans), data_bytes,
                                        std::ssize(info.recipe) + std::ssize(info.plan) + std::ssize(info.stages))
                             : 0;
  agree(group, path, temporary, room_error != 0 ? std::strerror(room_error) : "");
  agree(group, path, temporary, create_layout(temporary, info, plans, group));
  const int write_error = fill(temporary);
  agree(group, path, temporary, write_error != 0 ? std::strerror(write_error) : "");
  const int rename_error = group.rank() == 0 ? rename_durably(temporary, path) : 0;
  agree(group, path, temporary, rename_error != 0 ? std::strerror(rename_error) : "");
}

/// This rank's part of one streamed tensor; its checksum.
int write_pieces(const Descriptor& file, const StreamedTensor& tensor, const DatasetPlan& plan,
                 const data::IndexRange& own, uint64_t& checksum) {
  constexpr int64_t kPieceBytes = 32 << 20;
  const auto bytes = static_cast<int64_t>(c10::elementSize(tensor.type));
  const int64_t most = kPieceBytes / bytes;
  std::vector<char> piece(static_cast<size_t>(std::min(most, own.end - own.begin) * bytes));
  for (int64_t begin = own.begin; begin < own.end; begin += most) {
    const int64_t count = std::min(most, own.end - begin);
    tensor.read({begin, count}, piece.data());
    checksum += partial_checksum(piece.data(), bytes, count, begin);
    const int error = write_all(file.number, piece.data(), count * bytes, plan.address + begin * bytes);
    if (error != 0) return error;
  }
  return 0;
}

int write_streams(const std::filesystem::path& path, const std::vector<StreamedTensor>& tensors,
                  const std::vector<DatasetPlan>& plans, parallel::Communicator& group, at::Tensor& checksums) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.number < 0) return errno;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const data::IndexRange own =
        data::split_range(elements_of(tensors[i]), {.index = group.rank(), .count = group.size()});
    uint64_t checksum = 0;
    const int error = write_pieces(file, tensors[i], plans[i], own, checksum);
    if (error != 0) return error;
    checksums[static_cast<int64_t>(i)] = static_cast<int64_t>(checksum);
  }
  return flush(file.number);
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
  make_file(path, info, plans, file_bytes(host), group,
            [&](const std::filesystem::path& temporary) { return write_runs(temporary, host, plans, group); });
  return file_bytes(host);
}

int64_t stream_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                          const std::vector<StreamedTensor>& tensors, parallel::Communicator& group) {
  std::vector<DatasetPlan> plans;
  for (const StreamedTensor& tensor : tensors) plans.push_back({tensor.path, tensor.shape, tensor.type});
  at::Tensor checksums = at::zeros({std::ssize(tensors)}, at::kLong);
  make_file(path, info, plans, file_bytes(tensors), group, [&](const std::filesystem::path& temporary) {
    int error = 0;
    std::string refused;
    try {
      error = write_streams(temporary, tensors, plans, group, checksums);
    } catch (const parallel::UserError& fault) {
      refused = fault.what();
    }
    agree(group, path, temporary, refused);
    group.all_reduce(checksums, parallel::ReduceOp::kSum).wait();
    for (size_t i = 0; i < plans.size(); ++i) {
      plans[i].checksum = static_cast<uint64_t>(checksums[static_cast<int64_t>(i)].item<int64_t>());
    }
    agree(group, path, temporary, error != 0 ? std::strerror(error) : "");
    agree(group, path, temporary, group.rank() == 0 ? write_checksums(temporary, plans) : "");
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CLOEXEC));
    return file.number < 0 ? errno : flush(file.number);
  });
  return file_bytes(tensors);
}

}  // namespace launch
