#include "launch/training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "launch/recipe/writer.h"
#include "launch/training/build_id.h"
#include "launch/training/description.h"
#include "launch/training/evaluation.h"
#include "launch/training/mesh_notes.h"
#include "launch/training/model_builder.h"
#include "launch/training/trained_model.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

using nlohmann::json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

json phases(const PhaseSeconds& seconds, int64_t updates) {
  const double n = static_cast<double>(std::max<int64_t>(1, updates));
  return {{"data", seconds.data / n},
          {"forward", seconds.forward / n},
          {"backward", seconds.backward / n},
          {"reduce", seconds.reduce / n},
          {"optimizer", seconds.optimizer / n}};
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, Groups groups, at::Device device, const Interrupt& interrupt,
                 const TrainerOptions& options)
    : recipe_(recipe),
      groups_(std::move(groups)),
      device_(device),
      folder_{recipe.run.folder},
      interrupt_(interrupt),
      progress_(groups_.control->rank() == 0 ? options.progress : ProgressDisplay::Style::kSilent) {
  at::set_num_threads(static_cast<int>(recipe_.run.threads));
  at::globalContext().setDeterministicAlgorithms(recipe_.run.deterministic, /*warn_only=*/false);
  open_corpus();
  const std::shared_ptr<moetrain::Model> teacher = load_teacher();  // may fail, so before the run folder is made
  parallel::all_ranks(*groups_.control, [&] {
    check_memory();
    if (groups_.control->rank() == 0) open_run_folder(folder_, recipe_, options.resume);
  });
  build(teacher);
  const int64_t newest = options.resume ? newest_update(folder_.path, *groups_.control) : -1;
  if (newest >= 0) resume(checkpoint_path(folder_.path, newest));
  choose_plan();
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() == 0) metrics_ = std::make_unique<MetricsFile>(folder_.metrics());
  });
  announce(newest >= 0);
}

void Trainer::check_memory() const {
  if (!device_.is_cpu()) return;  // the GPU says it itself, before anything is lost
  const double needed = static_cast<double>(training_bytes(recipe_, corpus_->tokenizer().vocabulary_size(),
                                                           groups_.control->size(), groups_.control->rank()));
  const double there = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (needed <= there) return;
  parallel::user_error("weights, gradients and optimizer state of this model take ", needed / 1e9,
                       " GB on each rank, and ", "this host has ", there / 1e9,
                       " GB; make model.layers, model.width, moe.experts or moe.hidden smaller");
}

void Trainer::open_corpus() {
  parallel::all_ranks(*groups_.control, [&] {
    // One rank reads every token once to check them; the file is the same for all.
    const auto verify = groups_.control->rank() == 0 ? data::Verify::kTokens : data::Verify::kIndexOnly;
    corpus_ = std::make_unique<data::TokenCorpus>(data::TokenCorpus::open(recipe_.data.file, verify));
    batches_ = make_training_batches(*corpus_, recipe_, groups_.shard);
    if (recipe_.evaluate.every.count > 0) held_out_ = make_held_out_batches(*corpus_, recipe_, groups_.shard);
  });
}

void Trainer::build(const std::shared_ptr<moetrain::Model>& teacher) {
  scale_ = batches_->scale();
  length_ = updates_of(recipe_.train.length);
  state_.seed = static_cast<uint64_t>(recipe_.run.seed);
  state_.micro_batches = recipe_.train.micro_batches;
  state_.recompute = moetrain::parse_recompute(recipe_.train.recompute);
  state_.objective =
      moetrain::builtin_objectives().at(recipe_.objective.kind)({recipe_.objective, teacher, groups_.mesh});
  state_.model = build_model(recipe_, corpus_->tokenizer().vocabulary_size(), device_, groups_.mesh);
  state_.reducer = std::make_unique<parallel::GradientReducer>(
      state_.model->parameters(), gradient_groups(*state_.model, *groups_.mesh),
      parallel::ReducerOptions{.sharding = groups_.mesh->sharding(), .schedule = groups_.mesh->schedule()});
  state_.optimizer =
      std::make_unique<optim::Optimizer>(owned_parameters(*state_.model, *state_.reducer), recipe_.optimizer,
                                         optim::resolve(recipe_.schedule, length_, scale_));
}

/// The frozen model that a distillation learns from; null elsewhere.
std::shared_ptr<moetrain::Model> Trainer::load_teacher() const {
  if (recipe_.objective.kind != "distillation") return nullptr;
  const std::filesystem::path folder = recipe_.objective.teacher;
  parallel::all_ranks(*groups_.control, [&] {
    if (std::filesystem::exists(RunFolder{folder}.recipe())) return;
    parallel::user_error("objective.teacher = \"", folder.string(), "\" is no run folder (no recipe.toml in it); ",
                         "legal: the run.folder of a trained model with this token file's tokenizer");
  });
  const int64_t update = newest_update(folder, *groups_.control);
  std::shared_ptr<moetrain::Model> teacher;
  parallel::all_ranks(*groups_.control, [&] {
    // With the student's token file: the tokenizers must agree, and the teacher's own file may be gone.
    TrainedModel trained = load_trained_model(folder, update, device_, {.data_file = recipe_.data.file});
    if (trained.recipe.model.kind != recipe_.model.kind) {
      parallel::user_error("objective.teacher = \"", folder.string(), "\" is a \"", trained.recipe.model.kind,
                           "\", the student a \"", recipe_.model.kind, "\"; legal: the same model.kind");
    }
    teacher = std::move(trained.model);
  });
  return teacher;
}

void Trainer::resume(const std::filesystem::path& checkpoint) {
  parallel::all_ranks(*groups_.control, [&] {
    const CheckpointInfo info = read_checkpoint_info(checkpoint);
    if (info.tokenizer_hash != corpus_->tokenizer_hash()) {
      parallel::user_error(checkpoint.string(), " was trained with another tokenizer (", info.tokenizer_hash,
                           ") than that of ", recipe_.data.file, " (", corpus_->tokenizer_hash(), ")");
    }
    if (info.corpus != corpus_->fingerprint()) {
      parallel::user_error(checkpoint.string(), " was trained on another text than ", recipe_.data.file,
                           " holds, so its data position means nothing there; legal: the token file of that run");
    }
    read_checkpoint(checkpoint, checkpoint_tensors());
    state_.optimizer->resume_at(info.update);
    update_ = last_saved_ = logged_update_ = info.update;
  });
  state_.reducer->gather_parameters();
}

void Trainer::choose_plan() {
  overlap_ = std::make_unique<Overlap>(
      recipe_.overlap, folder_, groups_,
      describe_machine(recipe_.run.device, recipe_.run.precision, recipe_.run.threads, *groups_.mesh));
  if (overlap_->wants_profile([&](const std::string& text) { progress_.say(text); })) {
    measure_plan();
  } else {
    overlap_->use_stored();
  }
}

void Trainer::measure_plan() {
  std::vector<MicroBatch> batches;
  for (const MicroBatch& batch : batches_->read(update_)) batches.push_back(to_device(batch, device_));
  overlap_->use(measure_profile(state_, batches, agree(batches).targets, groups_, overlap_->machine(),
                                recipe_.overlap.profile_seconds));
}

void Trainer::announce(bool resumed) {
  const moetrain::ParameterCount count = state_.model->parameter_count();
  const std::string model = describe(recipe_, state_.model->vocabulary());
  progress_.say(parallel::concat(resumed ? "resuming at update " + std::to_string(update_) : "training", " in ",
                                 folder_.path.string(), ": ", model));
  progress_.say(parallel::concat(count.total, " parameters, ", count.active, " active for a token; ",
                                 groups_.mesh->shape().describe(), "; threads each: ", recipe_.run.threads, ", on ",
                                 recipe_.run.device, "; ", length_, " updates of ", scale_.tokens_per_update,
                                 " tokens; ", scale_.tokens_per_epoch, " tokens an epoch"));
  if (recipe_.overlap.schedule != "eager") progress_.say(overlap_->describe());
  for (const std::string& note : mesh_notes(recipe_, groups_.mesh->hosts(), scale_.tokens_per_update)) {
    progress_.say(note);
  }
  if (const std::string left_out = batches_->left_out(); !left_out.empty()) progress_.say(left_out);
  const int64_t tensor = groups_.mesh->shape().tensor;
  const int64_t idle = (groups_.shard.count - batches_->sequences_per_micro_batch()) * tensor;
  if (idle > 0) {
    progress_.say(parallel::concat("warning: ", idle, " of ", groups_.control->size(), " ranks have no sequence in a ",
                                   "micro-batch of ", batches_->sequences_per_micro_batch(), " and only wait"));
  }
  if (!metrics_) return;
  metrics_->write(resumed ? "resume" : "start", {{"step", update_},
                                                 {"time", utc_now()},
                                                 {"build", build_id()},
                                                 {"recipe_hash", hash_text(recipe_hash(recipe_))},
                                                 {"ranks", groups_.control->size()},
                                                 {"mesh", groups_.mesh->shape().describe()},
                                                 {"threads", recipe_.run.threads},
                                                 {"parameters", {{"total", count.total}, {"active", count.active}}},
                                                 {"model", model}});
}

Trainer::Agreed Trainer::agree(const std::vector<MicroBatch>& batches) {
  int64_t targets = 0;
  for (const MicroBatch& batch : batches) targets += counted_targets(batch, *groups_.mesh);
  at::Tensor sums = at::tensor(
      {targets, int64_t{interrupt_.requested()}, int64_t{metrics_ != nullptr && metrics_->failed()}}, at::kLong);
  groups_.control->all_reduce(sums, parallel::ReduceOp::kSum).wait();
  if (sums[2].item<int64_t>() > 0) check_metrics_written();
  return {sums[0].item<int64_t>(), sums[1].item<int64_t>() > 0};
}

/// The one rank that writes metrics reports a failure to all, when all are there. Collective.
void Trainer::check_metrics_written() {
  parallel::all_ranks(*groups_.control, [&] {
    if (metrics_ && metrics_->failed())
      parallel::user_error("cannot write ", metrics_->path().string(), ": disk full?");
  });
}

Trainer::End Trainer::run() {
  End end = End::kDone;
  while (update_ < length_) {
    const auto start = std::chrono::steady_clock::now();
    const auto batches = batches_->read(update_);
    const double read_seconds = seconds_since(start);
    groups_.ledger->reset();  // evaluations and checkpoints are not an update's
    const Agreed agreed = agree(batches);
    if (agreed.stop) {
      end = End::kInterrupted;
      break;
    }
    StepReport report = step(batches, agreed.targets);
    report.seconds.data += read_seconds;
    ++update_;
    phase_seconds_ += report.seconds;
    dropped_ += report.dropped();
    for (const auto& [axis, traffic] : groups_.ledger->by_axis()) bytes_[axis] += traffic.bytes;
    if (due(updates_of(recipe_.train.log_every)) || update_ == length_) log(report);
    if (due(updates_of(recipe_.overlap.replan_every)) && update_ < length_) measure_plan();
    if (due(updates_of(recipe_.evaluate.every)) && update_ < length_) score();
    if (due(updates_of(recipe_.checkpoint.every)) && update_ < length_) save();
  }
  if (last_saved_ != update_) save();
  if (end == End::kDone && recipe_.evaluate.every.count > 0) score();
  if (metrics_) metrics_->write("end", {{"step", update_}, {"reason", end == End::kDone ? "done" : "interrupted"}});
  check_metrics_written();
  if (end == End::kInterrupted) {
    progress_.say(
        parallel::concat("interrupted after update ", update_, ", saved; the same command with --resume goes on"));
  }
  return end;
}

StepReport Trainer::step(const std::vector<MicroBatch>& batches, int64_t targets) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<MicroBatch> on_device;
  for (const MicroBatch& batch : batches) on_device.push_back(to_device(batch, device_));
  const double copy_seconds = seconds_since(start);
  StepReport report = train_step(state_, on_device, targets, groups_);
  report.seconds.data = copy_seconds;
  return report;
}

void Trainer::log(const StepReport& report) {
  const int64_t updates = update_ - logged_update_;
  const double seconds = phase_seconds_.total();
  const double tokens_per_second = static_cast<double>(updates * scale_.tokens_per_update) / seconds;
  progress_.show({.update = update_,
                  .length = length_,
                  .loss = report.total_loss(),
                  .gradient_norm = report.gradient_norm,
                  .imbalance = report.imbalance(),
                  .tokens_per_second = tokens_per_second,
                  .seconds_left = seconds / static_cast<double>(updates) * static_cast<double>(length_ - update_)});
  if (metrics_) {
    json losses{{"total", report.total_loss()}};
    for (const auto& [name, value] : report.losses) losses[name] = value;
    json layers = json::array();
    for (const LayerLoad& layer : report.layers) {
      layers.push_back(
          {{"layer", layer.layer}, {"load", layer.load}, {"dropped", layer.dropped}, {"entropy", layer.entropy}});
    }
    json bytes = json::object();
    for (const auto& [axis, sum] : bytes_) bytes[axis] = sum / updates;
    // Of the seconds since the last line, how many the thread that carries MPI was busy.
    const double engine = groups_.engine != nullptr ? groups_.engine->cpu_seconds() : 0;
    const double engine_share = (engine - std::exchange(engine_seconds_, engine)) / seconds;
    metrics_->write("step", {{"step", update_},
                             {"tokens", update_ * scale_.tokens_per_update},
                             {"loss", losses},
                             {"gradient_norm", report.gradient_norm},
                             {"learning_rate", report.learning_rate},
                             {"tokens_per_second", tokens_per_second},
                             {"seconds", phases(phase_seconds_, updates)},
                             {"mpi_thread_share", engine_share},
                             {"bytes", bytes},
                             {"imbalance", report.imbalance()},
                             {"dropped", dropped_},
                             {"layers", layers}});
  }
  phase_seconds_ = {};
  dropped_ = 0;
  bytes_.clear();
  logged_update_ = update_;
}

std::vector<CheckpointTensor> Trainer::checkpoint_tensors() const {
  std::vector<CheckpointTensor> tensors;
  std::map<std::string, size_t> number;
  for (const auto& parameter : state_.model->named_parameters()) number.emplace(parameter.key(), number.size());
  const auto add = [&](const std::string& path, const at::Tensor& tensor, const std::string& name) {
    tensors.push_back(
        checkpoint_tensor(path, tensor, *state_.model, name, *groups_.mesh, state_.reducer->owned(number.at(name))));
  };
  for (const auto& [name, tensor] : state_.optimizer->masters()) add("parameters/" + name, tensor, name);
  for (const auto& [slot, name, tensor] : state_.optimizer->state()) {
    add("optimizer/" + slot + "/" + name, tensor, name);
  }
  for (CheckpointTensor& buffer : buffer_tensors(*state_.model)) tensors.push_back(std::move(buffer));
  return tensors;
}

void Trainer::save() {
  const auto start = std::chrono::steady_clock::now();
  const CheckpointInfo info{.update = update_,
                            .sequences = batches_->sequences_before(update_),
                            .tokens = update_ * scale_.tokens_per_update,
                            .vocabulary = state_.model->vocabulary(),
                            .tokenizer_hash = corpus_->tokenizer_hash(),
                            .corpus = corpus_->fingerprint(),
                            .recipe = write_recipe(recipe_),
                            .build = build_id()};
  const int64_t bytes =
      write_checkpoint(checkpoint_path(folder_.path, update_), info, checkpoint_tensors(), *groups_.control);
  if (groups_.control->rank() == 0) prune_checkpoints(folder_.path, recipe_.checkpoint.keep);
  last_saved_ = update_;
  if (metrics_) metrics_->write("checkpoint", {{"step", update_}, {"seconds", seconds_since(start)}, {"bytes", bytes}});
}

void Trainer::score() {
  const Evaluation result = evaluate(*state_.model, *held_out_, groups_);
  progress_.say(parallel::concat("held out, after update ", update_, ": loss ", result.overall.loss(), " nats/token, ",
                                 result.overall.bits_per_byte(), " bits per byte"));
  if (!metrics_) return;
  json line = to_json(result, /*with_routing=*/false);
  line["step"] = update_;
  metrics_->write("evaluate", line);
}

}  // namespace launch
