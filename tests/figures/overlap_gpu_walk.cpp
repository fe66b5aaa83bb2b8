// Exchanges beside experts on one GPU, where a copy by way of the host stands in for the wire:
// tests/figures/overlap_gpu.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "launch/profiles/step_trace.h"
#include "launch/training/setup.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/device/device_library.h"
#include "parallel/schedule/intervals.h"
#include "parallel/schedule/schedules.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/mirrored_communicator.h"
#include "tests/support/tiny_corpus.h"

namespace {

using parallel::Interval;
using parallel::TaskKind;

constexpr int64_t kChunks = 4;

/// Large enough that a chunk's experts take a GPU some milliseconds, and twice as long as its rows' way over 50 GB/s;
/// on the CPU the same in small.
launch::Recipe recipe_for(const std::string& corpus, bool gpu) {
  launch::Recipe recipe = tiny_recipe(corpus);
  recipe.run.precision = gpu ? "bf16" : "float32";
  recipe.data.sequence_length = gpu ? 512 : 16;
  recipe.train.global_batch = gpu ? 32 : 8;
  recipe.model.layers = 4;
  recipe.model.width = gpu ? 2048 : 32;
  recipe.model.heads = recipe.model.kv_heads = gpu ? 16 : 2;
  recipe.moe.layers = "all";
  recipe.moe.experts = 8;
  recipe.moe.top_k = 2;
  recipe.moe.hidden = gpu ? 16384 : 32;
  return recipe;
}

/// The first of two ranks, the other a mirror of it.
launch::Groups mirrored_groups(at::Device device) {
  launch::Groups groups = launch::local_groups();
  groups.tokens = std::make_shared<MirroredCommunicator>(device);
  groups.gradients = std::make_shared<MirroredCommunicator>(device);
  set_mesh(groups, {.expert = 2}, {0, 1});
  return groups;
}

/// Of an update under `chunks` chunks: the last of several, as its trace has it.
struct Measured {
  double seconds = 0, exchanged = 0, hidden = 0, experts = 0;  // [s]
  int64_t exchanges = 0, bytes = 0;
};

Measured measure(launch::TrainingSetup& setup, int64_t chunks) {
  const parallel::Mesh& mesh = *setup.groups.mesh;
  const int64_t layers = mesh.schedule()->layers();
  parallel::Plan plan = parallel::chunked(layers, chunks, chunks);
  plan.overlap = chunks > 1;
  plan.release = parallel::GradientRelease::kAfterBackward;
  mesh.follow(plan);
  const auto batches = setup.to_own_device(setup.batches->read(0));
  parallel::Trace trace;
  for (int64_t i = 0; i < 5; ++i) trace = rehearse(setup.state, batches, /*targets=*/1000, setup.groups).trace;
  const launch::StepTrace step = launch::measured_step(trace, layers, /*one_link=*/true);
  std::vector<Interval> experts, exchanges;
  Measured measured{.seconds = step.seconds};
  for (const launch::StepTask& task : step.tasks) {
    const bool exchange = task.kind == TaskKind::kDispatch || task.kind == TaskKind::kCombine;
    if (exchange) {
      exchanges.push_back({task.begin, task.end});
      measured.bytes += static_cast<int64_t>(task.bytes);
      ++measured.exchanges;
    } else if (task.kind != TaskKind::kDense && task.kind != TaskKind::kGradient) {
      experts.push_back({task.begin, task.end});
    }
  }
  exchanges = joined(std::move(exchanges));
  experts = joined(std::move(experts));
  measured.exchanged = length(exchanges);
  measured.experts = length(experts);
  measured.hidden = length_of_both(exchanges, experts) / std::max(measured.exchanged, 1e-12);
  std::printf("%lld chunks: update %.2f ms, experts %.2f ms, exchanges of %.1f MB in %.2f ms, %.0f %% behind experts\n",
              static_cast<long long>(chunks), 1e3 * measured.seconds, 1e3 * measured.experts,
              1e-6 * static_cast<double>(measured.bytes), 1e3 * measured.exchanged, 100 * measured.hidden);
  return measured;
}

TEST(OverlapGpu, CopiesHideBehindExperts) {
  const char* wanted = std::getenv("MOETRAIN_DEVICE");
  const bool gpu = wanted == nullptr || std::string(wanted) != "cpu";
  const at::Device device = gpu ? parallel::open_accelerator(0) : at::Device(at::kCPU);
  parallel::LocalCommunicator alone;
  const TestFolder folder("overlap_gpu", alone);
  const std::string corpus = make_tiny_corpus(folder, alone, gpu ? 40000 : 400);
  launch::TrainingSetup setup(recipe_for(corpus, gpu), mirrored_groups(device), device);
  setup.build();
  const Measured plain = measure(setup, 1), pieces = measure(setup, kChunks);
  const int64_t layers = setup.groups.mesh->schedule()->layers();
  EXPECT_EQ(plain.exchanges, 4 * layers) << "there and back, forward and backward";
  EXPECT_EQ(pieces.exchanges, kChunks * plain.exchanges);
  // Chunks of the mirror's rows are other rows, and later layers choose for them anew.
  EXPECT_NEAR(static_cast<double>(pieces.bytes) / static_cast<double>(plain.bytes), 1, 0.05);
  EXPECT_GT(pieces.exchanged, 0);
  // One piece has nothing to hide behind; of r chunks the first dispatch and the last combine have not.
  EXPECT_LT(plain.hidden, 0.05);
  if (gpu) {
    EXPECT_GT(pieces.hidden, 0.8 * (1 - 1.0 / kChunks));
    EXPECT_GT(plain.exchanged, 0.2 * plain.experts) << "too short to show anything";
    EXPECT_LT(pieces.seconds, plain.seconds);
  }
  std::printf("walked %s: %.0f %% of the copies' time behind experts in %lld chunks, %.0f %% in one piece\n",
              device.str().c_str(), 100 * pieces.hidden, static_cast<long long>(kChunks), 100 * plain.hidden);
}

}  // namespace
