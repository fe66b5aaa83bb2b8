#include "launch/training/setup.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "launch/models/model_builder.h"
#include "launch/models/trained_model.h"
#include "launch/ranks/processor.h"
#include "launch/recipe/recipe_model.h"
#include "launch/recipe/rules.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/token_file.h"
#include "launch/training/measure_profile.h"
#include "launch/training/overlap.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/accelerator.h"

namespace launch {

namespace {

/// The same batches for a recipe that does not begin with the run.
class LaterBatches : public TrainingBatches {
 public:
  /// shift: what turns an update of the run into one of the data.
  LaterBatches(std::unique_ptr<TrainingBatches> all, int64_t shift) : all_(std::move(all)), shift_(shift) {}
  std::vector<MicroBatch> read(int64_t update) const override { return all_->read(update + shift_); }
  parallel::SpanScale scale() const override { return all_->scale(); }
  int64_t sequences_per_micro_batch() const override { return all_->sequences_per_micro_batch(); }
  std::string left_out() const override { return all_->left_out(); }
  int64_t sequences_before(int64_t updates) const override { return all_->sequences_before(updates + shift_); }
  std::vector<SourceTokens> source_tokens(int64_t updates) const override {
    return all_->source_tokens(updates + shift_);
  }

 private:
  std::unique_ptr<TrainingBatches> all_;
  int64_t shift_;
};

}  // namespace

TrainingSetup::TrainingSetup(const Recipe& recipe_, Groups groups_, at::Device device_, const RunPart& part_)
    : recipe(recipe_), groups(std::move(groups_)), device(device_), part(part_) {
  parallel::all_ranks(*groups.control, [&] { use_processor(recipe.run); });
  // Read at the first multiplication on a GPU, which LibTorch refuses without it.
  if (recipe.run.deterministic && parallel::is_accelerator(device))
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*replace=*/0);
  at::globalContext().setDeterministicAlgorithms(recipe.run.deterministic, /*warn_only=*/false);
  parallel::all_ranks(*groups.control, [&] {
    // One rank reads every token once to check them; the file is the same for all.
    const auto verify = groups.control->rank() == 0 ? part.verify : data::Verify::kIndexOnly;
    corpus = std::make_unique<data::TokenMixture>(
        data::TokenMixture::open(recipe.data.file, verify, recipe.registry->tokenizers));
    batches = make_training_batches(*corpus, recipe, groups.shard);
    scale = batches->scale();
    if (part.begin > 0) batches = std::make_unique<LaterBatches>(std::move(batches), part.data_begin - part.begin);
    vocabulary();
    check_lengths(recipe, scale);
  });
  teacher_ = load_teacher();
  parallel::all_ranks(*groups.control, [&] {
    if (parallel::is_accelerator(device)) return;  // the GPU says it itself, before anything is lost
    check_memory(recipe, vocabulary(), groups.control->size(), groups.control->rank());
  });
}

void check_memory(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank) {
  const double needed = static_cast<double>(training_bytes(recipe, vocabulary, ranks, rank));
  const double there = physical_memory();
  if (needed <= there) return;
  parallel::user_error("weights, gradients and optimizer state of this model take ", needed / 1e9,
                       " GB on each rank, and ", "this host has ", there / 1e9,
                       " GB; make model.layers, model.width, moe.experts or moe.hidden smaller");
}

void TrainingSetup::build() {
  const int64_t own_length = updates_of(recipe.train.length);
  length = part.begin + own_length;
  state.begin = part.begin;
  state.seed = static_cast<uint64_t>(recipe.run.seed);
  state.micro_batches = recipe.train.micro_batches;
  state.recompute = recipe.train.recompute;
  state.objective = recipe.objective_preset().make({recipe.objective, std::exchange(teacher_, nullptr), groups.mesh});
  state.model = build_model(recipe, vocabulary(), device, groups.mesh);
  state.reducer = build_reducer(recipe, *state.model, groups.mesh);
  optim::Schedule schedule = optim::resolve(recipe.schedule, recipe.schedule_rule(), own_length, scale);
  schedule.begin = part.begin;
  state.optimizer = build_optimizer(recipe, *state.model, *state.reducer, schedule, part.state_begin);
}

void check_teacher(const Recipe& recipe) {
  const moetrain::ObjectivePreset& preset = recipe.objective_preset();
  if (preset.teacher == nullptr) return;
  const std::filesystem::path folder = preset.teacher(recipe.objective);
  if (std::filesystem::exists(RunFolder{folder}.recipe())) {
    if (preset.check_teacher == nullptr) return;
    const Recipe teacher = read_run_recipe({folder}, {}, recipe.registry);
    return preset.check_teacher({teacher.model, teacher.moe, recipe.model, recipe.moe});
  }
  parallel::user_error("objective.", recipe.objective.kind, ".teacher = \"", folder.string(),
                       "\" is no run folder (no recipe.toml in it); ",
                       "legal: the run.folder of a trained model with this token file's tokenizer");
}

/// The frozen model that the objective learns from; null where there is none.
std::shared_ptr<moetrain::Model> TrainingSetup::load_teacher() const {
  const moetrain::ObjectivePreset& preset = recipe.objective_preset();
  if (preset.teacher == nullptr) return nullptr;
  const std::filesystem::path folder = preset.teacher(recipe.objective);
  const std::string key = parallel::concat("objective.", recipe.objective.kind, ".teacher");
  parallel::all_ranks(*groups.control, [&] { check_teacher(recipe); });
  const int64_t update = newest_update(folder, *groups.control);
  std::shared_ptr<moetrain::Model> teacher;
  parallel::all_ranks(*groups.control, [&] {
    // With the student's token file: the tokenizers must agree, and the teacher's own file may be gone.
    TrainedModel trained =
        load_trained_model(folder, update, device, {.data_file = recipe.data.file, .registry = recipe.registry});
    if (trained.recipe.model.kind != recipe.model.kind) {
      parallel::user_error(key, " = \"", folder.string(), "\" is a \"", trained.recipe.model.kind,
                           "\", the student a \"", recipe.model.kind, "\"; legal: the same model.kind");
    }
    const std::vector<std::string> theirs = data::task_names(trained.recipe.tasks);
    if (goes_by_tasks(trained.recipe) && theirs != data::task_names(recipe.tasks)) {
      parallel::user_error(key, " = \"", folder.string(), "\" goes by its tasks, ", parallel::list_names(theirs),
                           "; legal: a student with tasks.names in that order");
    }
    teacher = std::move(trained.model);
  });
  return teacher;
}

int64_t TrainingSetup::vocabulary() const { return model_vocabulary(recipe, corpus->tokenizer()); }

std::string TrainingSetup::machine() const {
  return describe_machine(recipe.run.device, recipe.run.precision, recipe.run.threads, *groups.mesh);
}

std::vector<MicroBatch> TrainingSetup::to_own_device(const std::vector<MicroBatch>& read) const {
  std::vector<MicroBatch> own;
  for (const MicroBatch& batch : read) own.push_back(to_device(batch, device));
  return own;
}

Profile TrainingSetup::profile(int64_t update) {
  const std::vector<MicroBatch> own = to_own_device(batches->read(update));
  int64_t targets = 0;
  for (const MicroBatch& batch : own) targets += counted_targets(batch, *groups.mesh);
  at::Tensor sum = at::full({1}, targets, at::kLong);
  groups.control->all_reduce(sum, parallel::ReduceOp::kSum).wait();
  return measure_profile(state, own, sum.item<int64_t>(), groups, machine(),
                         overlap_on(recipe.overlap, device, *groups.control));
}

double physical_memory() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace launch
