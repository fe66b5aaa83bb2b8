// How a trainer comes into the stage at hand: at the beginning, from a checkpoint, from the stage before.
#include <algorithm>
#include <optional>
#include <utility>

#include "launch/evaluation/evaluation.h"
#include "launch/models/trained_model.h"
#include "launch/recipe/writer.h"
#include "launch/runs/run_chat.h"
#include "launch/runs/start_point.h"
#include "launch/stages/seam.h"
#include "launch/training/product_choice.h"
#include "launch/training/stage_checks.h"
#include "launch/training/start.h"
#include "launch/training/trainer.h"
#include "launch/use/use_recorder.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/accelerator.h"

namespace launch {

Trainer::Trainer(const Recipe& recipe, Groups groups, at::Device device, const Interrupt& interrupt,
                 const TrainerOptions& options)
    : run_(recipe),
      of_run_(std::move(groups)),
      device_(device),
      folder_{recipe.run.folder},
      interrupt_(interrupt),
      progress_(of_run_.control->rank() == 0 ? options.progress : ProgressDisplay::Style::kSilent) {
  plan();
  history_.add(stages_.front().name, 0);
  enter();
  claim_folder(options.resume);
  const Loaded loaded = options.resume ? resume() : Loaded{};
  if (loaded.update < 0) {
    build();
    came_with_ = read_start(*setup_, stage(), checkpoint_tensors());
  }
  begun_ = update_;
  if (loaded.update >= 0 && loaded.passed.empty() && given_up() && !all_done()) {
    progress_.say(parallel::concat("nothing to do: evaluate.patience = ", run_.evaluate.patience, " has ended the ",
                                   "run at update ", update_, ", saved in ", folder_.path.string(),
                                   "; a larger one goes on"));
    return;
  }
  if (loaded.update >= 0 && loaded.passed.empty() && all_done()) {
    progress_.say(parallel::concat("nothing to do: update ", update_, " is saved in ", folder_.path.string(), ", and ",
                                   stage().name.empty() ? "" : "the last stage's ", "train.length (\"",
                                   to_string(this->recipe().train.length), "\") is ",
                                   setup_->length - setup_->part.begin, " updates; a longer one goes on"));
    return;
  }
  if (options.resume && loaded.update < 0) {
    progress_.say("--resume: no checkpoint in " + folder_.path.string() + ", so the run begins");
  }
  begin(loaded);
}

/// Of a run of stages all of them are looked at before anything is built.
void Trainer::plan() {
  parallel::all_ranks(*of_run_.control, [&] {
    stages_ = plan_stages(run_, first_text(run_), of_run_.control->size());
    if (stages_.front().name.empty()) return;
    check_stages(stages_, device_, *of_run_.control);
  });
}

/// Nothing that may still be refused changes what is there.
void Trainer::claim_folder(bool resume) {
  parallel::all_ranks(*of_run_.control, [&] {
    if (of_run_.control->rank() != 0) return;
    lock_ = std::make_unique<RunLock>(folder_.path);
    before_ = check_run_folder(folder_, run_, resume);
  });
  if (lock_ && !lock_->warning().empty()) progress_.say(lock_->warning());
}

void Trainer::enter() {
  overlap_.reset();
  held_out_.reset();
  setup_.reset();  // its memory, before the next one's
  built_ = false;
  const bool staged = !stage().name.empty();
  Groups groups = of_run_;
  if (staged) set_mesh(groups, stage().recipe.mesh, of_run_.mesh->hosts());
  RunPart part{.begin = history_.begin()};
  if (staged) {
    part.data_begin = history_.data_read_before(stages_);
    part.state_begin = [this](const std::string& name) { return history_.state_begin(stages_, name); };
    part.verify = data::Verify::kIndexOnly;  // check_stages has
  }
  setup_ = std::make_unique<TrainingSetup>(stage().recipe, std::move(groups), device_, part);
  parallel::all_ranks(*of_run_.control, [&] {
    if (recipe().evaluate.every.count > 0) {
      held_out_ = make_held_out_batches(*setup_->corpus, recipe(), setup_->groups.shard);
    }
  });
}

void Trainer::build() {
  if (!built_) setup_->build();
  built_ = true;
  length_ = setup_->length;  // and what the stages after it will take
  for (size_t i = history_.size(); i < stages_.size(); ++i) length_ += stages_[i].updates;
}

void Trainer::prepare(const std::filesystem::path& checkpoint) {
  StageHistory there;
  parallel::all_ranks(*of_run_.control, [&] {
    if (stages_.front().name.empty()) return;
    try {
      there = StageHistory::from_text(read_checkpoint_info(checkpoint).stages, checkpoint.string());
    } catch (const parallel::UserError&) {
      return;  // read_state says so
    }
    there.check_begins(stages_, checkpoint.string());  // of a sound one: an older would be of other stages too
  });
  // A file that one rank alone cannot read is nobody's.
  const std::vector<std::string> of_ranks = parallel::gather_texts(*of_run_.control, there.to_text());
  const bool agreed = std::ranges::all_of(of_ranks, [&](const std::string& text) { return text == of_ranks.front(); });
  if (agreed && there.size() > 0 && there.to_text() != history_.to_text()) {
    history_ = there;
    enter();
  }
  build();
}

Loaded Trainer::resume() {
  Loaded loaded = load_newest_usable(
      folder_.path, *of_run_.control, [&](const std::filesystem::path& checkpoint) { prepare(checkpoint); },
      [&](const std::filesystem::path& checkpoint) { read_state(checkpoint); });
  if (loaded.update >= 0) setup_->state.reducer->gather_parameters();
  return loaded;
}

void Trainer::check_stages_of(const CheckpointInfo& info, const std::filesystem::path& checkpoint) const {
  const bool staged = !stage().name.empty();
  if (staged == info.stages.empty()) {
    parallel::user_error(checkpoint.string(), " is of a run ", staged ? "without" : "of",
                         " stages, and this recipe's is ", "one ", staged ? "of stages" : "without",
                         "; legal: the same train.stages, another run.folder, ",
                         "or train.start with that one's weights");
  }
  if (staged) StageHistory::from_text(info.stages, checkpoint.string()).check_begins(stages_, checkpoint.string());
}

void Trainer::read_state(const std::filesystem::path& checkpoint) {
  const CheckpointInfo info = read_checkpoint_info(checkpoint);
  if (info.tokenizer_hash != setup_->corpus->tokenizer_hash()) {
    parallel::user_error(checkpoint.string(), " was trained with another tokenizer (", info.tokenizer_hash,
                         ") than that of ", recipe().data.file, " (", setup_->corpus->tokenizer_hash(), ")");
  }
  check_stages_of(info, checkpoint);
  if (info.corpus != setup_->corpus->fingerprint()) {
    parallel::user_error(checkpoint.string(), " was trained on another text than ", recipe().data.file,
                         " holds, so its data position means nothing there; legal: the token file of that run ",
                         "(of several, in their order and with their weights)");
  }
  read_checkpoint(checkpoint, checkpoint_tensors());
  setup_->state.optimizer->resume_at(info.update);
  update_ = last_saved_ = logged_update_ = info.update;
  best_ = info.best;
  tokens_before_ = sequences_before_ = 0;
  tokens_before_ = info.tokens - tokens();
  sequences_before_ = info.sequences < 0 ? -1 : info.sequences - sequences();
}

/// From here on the run folder is written.
void Trainer::begin(const Loaded& loaded) {
  const bool resumed = loaded.update >= 0;
  if (!resumed && of_run_.control->rank() == 0) forget_attempt(folder_);
  const bool measure = open_overlap();
  parallel::all_ranks(*of_run_.control, [&] {
    if (of_run_.control->rank() != 0) return;
    metrics_ = std::make_unique<MetricsFile>(folder_.metrics());
    write_file(folder_.recipe(), write_recipe(run_));
    keep_came_with(folder_.path, came_with_);
    keep_chat(folder_, setup_->corpus->chat());
    for (const Loaded::Passed& passed : loaded.passed) set_aside(passed.checkpoint);
  });
  if (measure) measure_plan();
  announce(resumed);
  if (resumed) {
    announce_resumption(loaded);
  } else {
    announce_stage();
  }
}

bool Trainer::open_overlap() {
  const auto said = [&](const std::string& text) { progress_.say(text); };
  choose_products(recipe(), setup_->vocabulary(), folder_, groups(), said);
  const std::string machine =
      setup_->machine() + (stage().name.empty() ? "" : "; stage " + stage().title);  // whose layers it measures
  const OverlapConfig config = overlap_on(recipe().overlap, setup_->device, *groups().control);
  overlap_ = std::make_unique<Overlap>(config, folder_, groups(), machine);
  const bool measure = overlap_->wants_profile(said);
  if (!measure) overlap_->use_stored();
  return measure;
}

void Trainer::measure_plan() { overlap_->use(setup_->profile(update_)); }

std::shared_ptr<const ExpertUse> Trainer::record_use() const {
  Groups spread = of_run_;  // each rank has the model whole
  set_mesh(spread, {}, of_run_.mesh->hosts());
  TrainedModel trained;
  std::unique_ptr<HeldOutBatches> held_out;
  parallel::all_ranks(*of_run_.control, [&] {
    trained = load_trained_model(folder_.path, update_, device_,
                                 {.data_file = recipe().data.file, .registry = run_.registry});
    held_out = make_held_out_batches(*setup_->corpus, recipe(), spread.shard);
  });
  UseRecorder recorder(group_names(*held_out), recipe().model_preset().stacks(recipe().model));
  const auto objective = recipe().objective_preset().make({recipe().objective, /*teacher=*/nullptr});
  evaluate(*trained.model, *objective, *held_out, spread, &recorder);
  return std::make_shared<const ExpertUse>(recorder.sums(*of_run_.control));
}

void Trainer::cross() {
  Seam seam{.weights = checkpoint_path(folder_.path, update_), .tokenizer_hash = {}};
  if (records_use(stages_[history_.size()])) seam.use = record_use();
  tokens_before_ = tokens();
  sequences_before_ = sequences();
  history_.add(stages_[history_.size()].name, update_);
  best_ = {};  // losses of different stages say nothing of each other
  enter();
  build();
  parallel::all_ranks(*of_run_.control, [&] {
    const auto carried = [&](const std::string& name) {
      return history_.state_begin(stages_, name) < history_.begin();
    };
    seam.tokenizer_hash = setup_->corpus->tokenizer_hash();
    cross_seam(seam, stage(), checkpoint_tensors(), carried);
  });
  setup_->state.optimizer->resume_at(update_);
  setup_->state.reducer->gather_parameters();
  if (open_overlap()) measure_plan();
  announce_stage();
  announce_data();
}

int64_t Trainer::tokens() const {
  return tokens_before_ + (update_ - setup_->part.begin) * setup_->scale.tokens_per_update;
}

int64_t Trainer::sequences() const {
  const int64_t now = setup_->batches->sequences_before(update_);
  if (now < 0 || sequences_before_ < 0) return -1;
  return sequences_before_ + now - setup_->batches->sequences_before(setup_->part.begin);
}

}  // namespace launch
