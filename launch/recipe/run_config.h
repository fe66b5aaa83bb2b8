// defines: RunConfig, Device, Checks, MatrixProducts, visit
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "launch/recipe/precision.h"
#include "parallel/base/field.h"

namespace launch {

/// kCpu: MPI between ranks; kCuda: one GPU a rank, NCCL between them.
enum class Device { kCpu, kCuda };
constexpr std::array<const char*, 2> names_of(Device) { return {"cpu", "cuda"}; }

/// kCollectives: ranks agree on each collective before it starts (parallel/comm/checked_communicator.h).
enum class Checks { kOff, kCollectives };
constexpr std::array<const char*, 2> names_of(Checks) { return {"off", "collectives"}; }

/// Who multiplies the matrices of experts on the CPU. Other libraries round otherwise, so that only who asks for one
/// gets other bits. kMeasured: for each size whoever is fastest on the machine at hand.
enum class MatrixProducts { kLibTorch, kOneDnn, kOpenBlas, kMeasured };
constexpr std::array<const char*, 4> names_of(MatrixProducts) { return {"libtorch", "onednn", "openblas", "measured"}; }

/// Where and on what a run runs.
struct RunConfig {
  std::string folder = "runs/run";
  int64_t seed = 1;
  parallel::Enum<Device> device = Device::kCpu;
  parallel::Enum<Precision> precision = Precision::kFloat32;
  int64_t threads = 1;
  bool keep_memory = true;
  parallel::Enum<MatrixProducts> matrix_products = MatrixProducts::kLibTorch;
  bool deterministic = false;
  parallel::Enum<Checks> checks = Checks::kOff;
};

template <class Visitor>
void visit(RunConfig& config, Visitor& field) {
  using namespace parallel;
  field("folder", config.folder, anything(), "run folder; made by the run, must not exist unless --resume");
  field("seed", config.seed, at_least(0), "of every random draw");
  field("device", config.device, anything(), "cpu: MPI between ranks; cuda: one GPU a rank, NCCL between them");
  field("precision", config.precision, anything(), "of weights and activations; bf16 keeps float32 master weights");
  field("threads", config.threads, between(1, 1024), "compute threads of a rank");
  field("keep_memory", config.keep_memory, anything(),
        "on the CPU: memory that tensors gave back is kept for the next ones, up to a tenth of the most that was in "
        "use; false: the system has it back at once, and each fresh page of it costs time");
  field("matrix_products", config.matrix_products, anything(),
        "who multiplies the float32 matrices of experts on the CPU: libtorch (in its wheels MKL), onednn (bf16's too), "
        "openblas "
        "(Debian's libopenblas0-serial), or for each size whoever is measured to be fastest when the run begins, which "
        "the run keeps; each has other last bits");
  field("deterministic", config.deterministic, anything(),
        "bitwise repeatable on CUDA, at a cost; on the CPU it always is");
  field("checks", config.checks, anything(),
        "collectives: ranks agree on each collective before it starts, so that a mismatch is an error and no hang");
}

}  // namespace launch
