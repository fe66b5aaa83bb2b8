// defines: TrainConfig, CheckpointConfig, EvaluateConfig, visit, check_best
#pragma once
#include <cstdint>
#include <string>

#include "moetrain/config/recompute.h"
#include "parallel/base/fault.h"
#include "parallel/base/field.h"
#include "parallel/base/span.h"

namespace launch {

/// The batch is fixed here and never by the layout.
struct TrainConfig {
  parallel::Span length{1000, parallel::Unit::kUpdates};
  std::string stages;
  std::string start;
  std::string frozen;
  int64_t global_batch = 16;
  int64_t batch_tokens = 4096;
  int64_t micro_batches = 1;
  parallel::Enum<moetrain::Recompute> recompute = moetrain::Recompute::kNone;
  parallel::Span log_every{10, parallel::Unit::kUpdates};
};

struct CheckpointConfig {
  parallel::Span every{500, parallel::Unit::kUpdates};
  int64_t keep = 2;
  bool keep_best = false;
};

struct EvaluateConfig {
  parallel::Span every{0, parallel::Unit::kUpdates};
  int64_t batch = 16;
  int64_t patience = 0;
  int64_t beam = 5;
  double length_penalty = 1.0;
};

template <class Visitor>
void visit(TrainConfig& config, Visitor& field) {
  using namespace parallel;
  field("length", config.length, above(0), "how long to train; each stage has its own");
  field("stages", config.stages, anything(),
        "what the run consists of, one after another, each a section [stage.NAME]: \"dense, 3 x (router, backbone)\"; "
        "empty: of this recipe as it stands");
  field("start", config.start, anything(),
        "run folder, checkpoint or Hugging Face folder whose weights the run starts with, and whose [model], "
        "[attention], [moe] and [lora] hold where the recipe says nothing; empty: weights drawn from run.seed");
  field("frozen", config.frozen, anything(),
        "parameters that are not trained, by patterns of their names: \"embedding.*, *.router.*\"; they have no "
        "gradient and no optimizer state; empty: none");
  field("global_batch", config.global_batch, between(1, 1 << 24), "sequences of one update, over all ranks");
  field("batch_tokens", config.batch_tokens, between(6, 1 << 28),
        "translation: source and target tokens of one update at most, over all ranks, in place of global_batch");
  field("micro_batches", config.micro_batches, between(1, 1 << 16),
        "parts of the global batch, one forward and backward each");
  field("recompute", config.recompute, anything(),
        "activations that backward makes again instead of keeping them: none, those from norm to sum of each MoE "
        "feed-forward, or all of each block; saves memory, costs that part's forward once more");
  field("log_every", config.log_every, above(0), "between two lines of metrics");
}

template <class Visitor>
void visit(CheckpointConfig& config, Visitor& field) {
  using namespace parallel;
  field("every", config.every, anything(), "between two checkpoints; 0u: only at the end");
  field("keep", config.keep, between(1, 1 << 20), "newest checkpoints kept");
  field("keep_best", config.keep_best, anything(),
        "save when held-out loss was never lower, and keep that checkpoint besides (--update best takes it)");
}

template <class Visitor>
void visit(EvaluateConfig& config, Visitor& field) {
  using namespace parallel;
  field("every", config.every, anything(), "between two evaluations on held-out text; 0u: none during training");
  field("batch", config.batch, between(1, 1 << 16),
        "sequences of one forward pass, over all ranks; translation: sentences decoded side by side on a rank");
  field(
      "patience", config.patience, between(0, 1 << 20),
      "training ends after so many evaluations in a row whose held-out loss was not the lowest so far; 0: it goes on");
  field("beam", config.beam, between(1, 1000), "translation: hypotheses of a sentence that are followed");
  field("length_penalty", config.length_penalty, at_least(0),
        "translation: hypotheses compete by log p / length^length_penalty");
}

/// Which checkpoint is the best, and when none is any more, only evaluations can say. UserError where there are none.
inline void check_best(const CheckpointConfig& checkpoint, const EvaluateConfig& evaluate) {
  if (evaluate.every.count > 0 || (!checkpoint.keep_best && evaluate.patience == 0)) return;
  parallel::user_error(checkpoint.keep_best ? "checkpoint.keep_best = true" : "evaluate.patience > 0",
                       ", but evaluate.every = \"0u\", so no loss is known to go by; legal: evaluate.every such as ",
                       "\"100u\"");
}

}  // namespace launch
