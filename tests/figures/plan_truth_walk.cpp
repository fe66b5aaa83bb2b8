// What `moetrain plan` predicts of a layout, beside what a real update of it takes: what tests/figures/plan_truth
// starts. Run at each rank count; layouts of that many ranks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "launch/planning/layout_plan.h"
#include "parallel/comm/local_communicator.h"
#include "tests/figures/plan_truth_cases.h"
#include "tests/support/peak_bytes.h"
#include "tests/support/tiny_corpus.h"

namespace {

using Bytes = std::map<std::string, int64_t>;  // by axis, of all ranks together

constexpr double kMemoryBar = 0.10;  // of the measured peak

/// Choices for the experts of the rank of the expert axis that has most, over the mean rank's; over all layers
/// together, since the rows of all are there at the peak.
double imbalance(const launch::StepReport& report, int64_t expert) {
  std::vector<double> choices(static_cast<size_t>(expert), 0);
  for (const launch::LayerLoad& layer : report.layers) {
    for (size_t e = 0; e < layer.load.size(); ++e) {
      choices[e * choices.size() / layer.load.size()] += layer.load[e] / static_cast<double>(report.layers.size());
    }
  }
  return report.layers.empty() ? 1 : *std::ranges::max_element(choices) * static_cast<double>(expert);
}

/// Random letters: of many kinds, so that no expert's tokens are all of one kind.
std::string random_corpus(const TestFolder& folder, parallel::Communicator& world) {
  return prepared_by_one(folder, world, "letters.h5", [&](data::PrepareOptions& options) {
    options.text = {folder.path() / "letters.txt"};
    options.heldout = 0;
    std::ofstream file(options.text.front());
    const parallel::RandomStream stream(13, "letters");
    for (int64_t i = 0; i < 40000; ++i) file << static_cast<char>(' ' + stream.below(i, 94));
  });
}

class PlanTruth : public testing::Test {
 protected:
  std::shared_ptr<parallel::Communicator> world_ = test_world();
  const TestFolder folder_{"plan_truth", *world_};
  const std::string corpus_ = random_corpus(folder_, *world_);
  const int64_t vocabulary_ = data::TokenCorpus::open(corpus_).tokenizer().vocabulary_size();

  bool first() const { return world_->rank() == 0; }
  int64_t reduced(int64_t value, parallel::ReduceOp op) const {
    at::Tensor all = at::tensor({value}, at::kLong);
    world_->all_reduce(all, op).wait();
    return all.item<int64_t>();
  }
  void expect_parameters(const Case& each, const moetrain::Model& model) const;
  struct Peak {
    int64_t bytes = 0;
    double imbalance = 1;  // of that update, which nothing but its routing decides
  };
  Peak measured_peak(const Case& each) const;
  Bytes measured_bytes(const launch::Recipe& recipe, const launch::Groups& groups, int64_t updates) const;
  int64_t crossing(const launch::Recipe& recipe) const;
};

/// Of this rank, every parameter, and of the whole model.
void PlanTruth::expect_parameters(const Case& each, const moetrain::Model& model) const {
  launch::Recipe recipe = each.recipe;
  recipe.mesh = each.mesh;
  const auto table = launch::count_parameters(recipe, vocabulary_, world_->size(), world_->rank());
  const auto count = model.parameter_count();
  EXPECT_EQ(table.total, count.total) << each.name;
  EXPECT_EQ(table.active, count.active) << each.name;
  size_t i = 0;
  for (const auto& parameter : model.named_parameters()) {
    ASSERT_LT(i, table.own.size());
    EXPECT_EQ(table.own[i].name, parameter.key());
    EXPECT_EQ(table.own[i].elements, parameter.value().numel()) << parameter.key();
    ++i;
  }
  EXPECT_EQ(i, table.own.size());
}

/// Bytes of LibTorch's tensors of one update after two others, on the rank that has most.
PlanTruth::Peak PlanTruth::measured_peak(const Case& each) const {
  PeakBytes bytes;
  launch::Recipe recipe = each.recipe;
  recipe.mesh = each.mesh;
  const launch::Groups groups = launch::make_groups(test_mpi_world(), at::kCPU, launch::Checks::kOff, each.mesh);
  const auto corpus = data::TokenCorpus::open(corpus_);
  const auto batches = launch::make_training_batches(corpus, recipe, groups.shard);
  launch::TrainState state;
  state.micro_batches = recipe.train.micro_batches;
  state.recompute = recipe.train.recompute;
  state.objective =
      moetrain::builtin_objectives().at(recipe.objective.kind).make({recipe.objective, nullptr, groups.mesh});
  state.model = launch::build_model(recipe, vocabulary_, at::kCPU, groups.mesh);
  expect_parameters(each, *state.model);
  state.reducer = launch::build_reducer(recipe, *state.model, groups.mesh);
  state.optimizer =
      launch::build_optimizer(recipe, *state.model, *state.reducer,
                              optim::resolve(recipe.schedule, recipe.schedule_rule(), recipe.train.length.count, {}));
  Peak peak;
  for (int64_t update = 0; update < 3; ++update) {
    bytes.restart();
    const std::vector<launch::MicroBatch> read = batches->read(update);
    const int64_t targets = recipe.train.global_batch * recipe.data.sequence_length;
    peak.imbalance = imbalance(launch::train_step(state, read, targets, groups), each.mesh.expert);
  }
  peak.bytes = reduced(bytes.peak(), parallel::ReduceOp::kMax);
  return peak;
}

TEST_F(PlanTruth, MemoryAndParameters) {
  const std::vector<Case> all = cases(corpus_, world_->size());
  double worst = 0;
  for (const Case& each : all) {
    launch::Recipe recipe = each.recipe;
    recipe.mesh = each.mesh;
    const auto work = launch::workload_of(recipe, vocabulary_, world_->size());
    const auto parameters = launch::largest_parameters(recipe, vocabulary_, work.mesh);
    const Peak peak = measured_peak(each);
    const auto predicted = launch::memory_use(recipe, parameters, work, {.imbalance = peak.imbalance});
    const int64_t measured = peak.bytes;
    const double ratio = static_cast<double>(predicted.total()) / static_cast<double>(measured);
    worst = std::max(worst, std::abs(ratio - 1));
    EXPECT_NEAR(ratio, 1, kMemoryBar) << each.name << ", " << work.mesh.describe();
    if (!first()) continue;
    std::printf(
        "%-12s %s, zero %lld: peak predicted %.3f MiB, measured %.3f MiB, ratio %.3f (%s; busiest rank %.2f of the "
        "mean rows)\n",
        each.name, work.mesh.describe().c_str(), static_cast<long long>(each.mesh.zero),
        static_cast<double>(predicted.total()) / (1 << 20), static_cast<double>(measured) / (1 << 20), ratio,
        predicted.peak.c_str(), peak.imbalance);
  }
  if (!first()) return;
  std::printf("walked %zu layouts of %lld ranks: memory apart at most %.3f\n", all.size(),
              static_cast<long long>(world_->size()), worst);
}

/// Choices of the first update, of all blocks and micro-batches, whose expert is on another rank of the expert axis, as
/// one rank alone makes them: rank r has the r-th part of a micro-batch's tokens.
int64_t PlanTruth::crossing(const launch::Recipe& recipe) const {
  const at::NoGradGuard no_gradient;
  launch::Recipe alone = recipe;
  alone.mesh = {};
  const auto corpus = data::TokenCorpus::open(corpus_);
  const auto batches = launch::make_training_batches(corpus, alone, {})->read(0);
  const auto model = launch::build_model(alone, vocabulary_, at::kCPU);
  parallel::LocalCommunicator group;
  int64_t rows = 0;
  for (size_t m = 0; m < batches.size(); ++m) {
    const auto output = model->forward(
        batches[m].batch.inputs,
        {.group = group, .training = true, .draws = {static_cast<uint64_t>(recipe.run.seed), static_cast<int64_t>(m)}});
    for (const auto& routing : output.routing) {
      const at::Tensor expert_TK = routing.decision.assignment.expert_TK.contiguous();
      const int64_t tokens = expert_TK.size(0), top_k = expert_TK.size(1);
      for (int64_t c = 0; c < expert_TK.numel(); ++c) {
        const int64_t rank = c / top_k * world_->size() / tokens;
        const int64_t own = rank / recipe.mesh.expert_tensor % recipe.mesh.expert;
        rows += expert_TK.const_data_ptr<int64_t>()[c] * recipe.mesh.expert / recipe.moe.experts != own;
      }
    }
  }
  return rows;
}

Bytes PlanTruth::measured_bytes(const launch::Recipe& recipe, const launch::Groups& groups, int64_t updates) const {
  groups.ledger->reset();
  run_updates(recipe, groups, updates, {.plan = parallel::Plan{}});
  Bytes bytes;
  for (const char* axis : {"control", "world", "data", "tensor", "expert", "expert_tensor", "experts",
                           "gradients.world", "gradients.data", "gradients.expert_data", "gradients.expert_parts"}) {
    const auto traffic = groups.ledger->by_axis();
    const auto found = traffic.find(axis);
    bytes[axis] = reduced(found != traffic.end() ? found->second.bytes : 0, parallel::ReduceOp::kSum);
  }
  return bytes;
}

TEST_F(PlanTruth, BytesByAxis) {
  std::vector<Case> all = cases(corpus_, world_->size());
  for (Case& each : tuned_cases(corpus_, world_->size())) all.push_back(std::move(each));
  int64_t axes = 0;
  for (const Case& each : all) {
    launch::Recipe recipe = each.recipe;
    recipe.mesh = each.mesh;
    // A single rank's decisions are this layout's only in float64; bf16's bytes are those of its own widths.
    if (recipe.run.precision == launch::Precision::kFloat32) recipe.run.precision = "float64";
    recipe.model.dropout = 0;
    const launch::Groups groups = test_groups(each.mesh);
    const Bytes around = measured_bytes(recipe, groups, 0);
    Bytes measured = measured_bytes(recipe, groups, 1);
    for (auto& [axis, bytes] : measured) bytes -= around.at(axis);
    const auto work = launch::workload_of(recipe, vocabulary_, world_->size());
    const auto parameters = launch::count_parameters(recipe, vocabulary_, world_->size(), world_->rank());
    const bool certain = recipe.run.precision == launch::Precision::kFloat64 && recipe.mesh.expert > 1;
    const auto predicted = launch::traffic_of(recipe, parameters, work,
                                              {.crossing = certain ? crossing(recipe) : -1, .control_numbers = 1});
    for (const auto& [axis, bytes] : measured) {
      const auto found = predicted.find(axis);
      const int64_t told = found == predicted.end() ? 0 : found->second.bytes;
      // On average only; nearly, where one share of crossing rows stands for layers of which some have no backward.
      const bool in_part = certain && !recipe.train.frozen.empty();
      const bool expected = axis == "expert" && (!certain || in_part);
      if (expected) {
        EXPECT_NEAR(static_cast<double>(told), static_cast<double>(bytes),
                    (in_part ? 0.01 : 0.5) * static_cast<double>(bytes))
            << each.name;
      } else {
        EXPECT_EQ(told, bytes) << axis << " of " << each.name << ", " << work.mesh.describe();
      }
      if (bytes == 0 && told == 0) continue;
      axes += !expected;
      if (first()) {
        std::printf("%-12s %s, zero %lld: %s predicted %lld, measured %lld%s\n", each.name,
                    work.mesh.describe().c_str(), static_cast<long long>(each.mesh.zero), axis.c_str(),
                    static_cast<long long>(told), static_cast<long long>(bytes), expected ? " (if spread evenly)" : "");
      }
    }
  }
  if (first()) {
    std::printf("walked %zu layouts of %lld ranks: %lld axes exact\n", all.size(),
                static_cast<long long>(world_->size()), static_cast<long long>(axes));
  }
}

}  // namespace
