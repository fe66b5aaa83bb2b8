// What a run writes of itself: every event of metrics.jsonl, and evaluation.json, each declared once. Who writes and
// who reads them go by these lists. A number that is not finite is null, and one that is absent or null a NaN. defines:
// Named, NamedNumbers, StartRecord, StageRecord, StepRecord, TraceRecord, EvaluationRecord, EvaluationFile,
// CheckpointRecord, ResumeRecord, EndRecord and their parts, visit
#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "moetrain/config/layer_kinds.h"

namespace launch {

/// An object of JSON, in its order.
template <class Value>
using Named = std::vector<std::pair<std::string, Value>>;
using NamedNumbers = Named<double>;

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

/// As records have it: nothing of a feed-forward's place.
inline std::optional<std::string> said_slot(moetrain::Slot slot) {
  if (slot == moetrain::Slot::kFeedForward) return std::nullopt;
  return names_of(slot)[static_cast<size_t>(slot)];
}

/// "3", or "3, attention".
inline std::string layer_name(int64_t layer, const std::optional<std::string>& slot) {
  return std::to_string(layer) + (slot ? ", " + *slot : "");
}

struct ParametersRecord {
  double total = kNoNumber, active = kNoNumber, trained = kNoNumber;
};

/// What began: a run, or a part of one after a resumption.
struct StartRecord {
  static constexpr const char* kEvent = "start";
  std::optional<int64_t> step = std::nullopt;
  std::string time = {}, build = {}, recipe_hash = {};
  double ranks = kNoNumber;
  std::string mesh = {};
  double threads = kNoNumber;
  ParametersRecord parameters = {};
  std::string model = {};
  std::optional<Named<std::array<std::string, 2>>> changed = std::nullopt;
};

struct ResumeRecord : StartRecord {
  static constexpr const char* kEvent = "resume";
};

/// A stage of a run begins.
struct StageRecord {
  static constexpr const char* kEvent = "stage";
  int64_t step = 0;
  int64_t number = 0, stages = 0;
  std::string name = {};
  double updates = kNoNumber;
  std::string surgery = {};
  std::string model = {};
  ParametersRecord parameters = {};
  double carried = kNoNumber;
};

/// One layer of experts in one step line.
struct LayerRecord {
  int64_t layer = 0;
  std::optional<std::string> slot = std::nullopt;
  std::vector<double> load = {};
  double dropped = kNoNumber;
  double entropy = kNoNumber;
};

struct StepRecord {
  static constexpr const char* kEvent = "step";
  int64_t step = 0;
  double tokens = kNoNumber;
  NamedNumbers loss = {};
  double gradient_norm = kNoNumber, learning_rate = kNoNumber;
  double tokens_per_second = kNoNumber;
  NamedNumbers seconds = {};
  double imbalance = kNoNumber;
  double dropped = kNoNumber;
  std::vector<LayerRecord> layers = {};
  NamedNumbers bytes = {};
  double mpi_thread_share = kNoNumber;
  double page_faults = kNoNumber;
  std::optional<NamedNumbers> sources = std::nullopt;
};

/// Of a traced step, measured or predicted.
struct SharesRecord {
  double seconds = kNoNumber, exposed = kNoNumber, hidden = kNoNumber;
  double compute = kNoNumber, inside_host = kNoNumber, between_hosts = kNoNumber;
};

struct TraceRecord {
  static constexpr const char* kEvent = "trace";
  int64_t step = 0;
  double seconds = kNoNumber, exposed = kNoNumber, hidden = kNoNumber;
  std::vector<SharesRecord> ranks = {};
  std::optional<SharesRecord> predicted = std::nullopt;
};

/// Held-out scores, of all documents or of one group of them, e.g. one language.
struct ScoreRecord {
  double loss = kNoNumber, bits_per_byte = kNoNumber, accuracy = kNoNumber;
  double tokens = kNoNumber, bytes = kNoNumber;
};

struct EvaluationRecord : ScoreRecord {
  static constexpr const char* kEvent = "evaluate";
  int64_t step = 0;
  Named<ScoreRecord> groups = {};
  std::optional<Named<ScoreRecord>> sources = std::nullopt;
};

/// Which part of a group's tokens goes to which expert, in one layer.
struct RoutingRecord {
  int64_t layer = 0;
  std::optional<std::string> slot = std::nullopt;
  int64_t experts = 0;
  Named<std::vector<double>> groups = {};
};

/// Of the translations of one direction.
struct TranslationRecord {
  double sentences = kNoNumber, bleu = kNoNumber, bleu_lowercase = kNoNumber, chrf = kNoNumber;
};

/// evaluation.json.
struct EvaluationFile : EvaluationRecord {
  std::vector<RoutingRecord> routing = {};
  Named<TranslationRecord> translation = {};
};

struct CheckpointRecord {
  static constexpr const char* kEvent = "checkpoint";
  int64_t step = 0;
  double seconds = kNoNumber, bytes = kNoNumber;
};

struct EndRecord {
  static constexpr const char* kEvent = "end";
  int64_t step = 0;
  std::string reason = {};
};

template <class Visitor>
void visit(ParametersRecord& record, Visitor& field) {
  field("total", record.total, "numbers");
  field("active", record.active, "those that a token meets");
  field("trained", record.trained, "those that are not frozen");
}

template <class Visitor>
void visit(StartRecord& record, Visitor& field) {
  field("step", record.step, "updates done before");
  field("time", record.time, "UTC");
  field("build", record.build, "of the program");
  field("recipe_hash", record.recipe_hash, "of the resolved recipe without run.folder");
  field("ranks", record.ranks, "of the job");
  field("mesh", record.mesh, "how they are laid out");
  field("threads", record.threads, "of a rank");
  field("parameters", record.parameters, "of the model");
  field("model", record.model, "in words");
  field("changed", record.changed, "of a resumption: keys of the recipe that changed, each then and now");
}

template <class Visitor>
void visit(StageRecord& record, Visitor& field) {
  field("step", record.step, "updates done before");
  field("number", record.number, "of the stage, from 1");
  field("stages", record.stages, "of the run");
  field("name", record.name, "as train.stages has it");
  field("updates", record.updates, "that it takes");
  field("surgery", record.surgery, "operation on the model before it, if any");
  field("model", record.model, "in words, from here on");
  field("parameters", record.parameters, "of the model");
  field("carried", record.carried, "trained weights whose optimizer state goes on from the stage before");
}

template <class Visitor>
void visit(LayerRecord& record, Visitor& field) {
  field("layer", record.layer, "number of the block");
  field("slot", record.slot, "in whose place its experts stand, where that is not the feed-forward");
  field("load", record.load, "share of each expert in the choices, before drops");
  field("dropped", record.dropped, "choices");
  field("entropy", record.entropy, "of the router's distribution [nats]");
}

template <class Visitor>
void visit(StepRecord& record, Visitor& field) {
  field("step", record.step, "updates done with this one");
  field("tokens", record.tokens, "since the start of the run");
  field("loss", record.loss, "by term, weighted; total: their sum [nats per target]");
  field("gradient_norm", record.gradient_norm, "before clipping");
  field("learning_rate", record.learning_rate, "of this update");
  field("tokens_per_second", record.tokens_per_second, "over all ranks, since the line before");
  field("seconds", record.seconds,
        "of an update by phase, means since the line before; data_wait: for its batch to be read");
  field("imbalance", record.imbalance, "busiest expert's load / mean load; 0 without experts");
  field("dropped", record.dropped, "choices in all layers, since the line before");
  field("layers", record.layers, "those with experts");
  field("bytes", record.bytes,
        "what the first rank handed to others in an update by axis, means since the line before");
  field("mpi_thread_share", record.mpi_thread_share, "processor share of the thread that carries MPI");
  field("page_faults", record.page_faults,
        "pages that the system had to hand to the first rank in an update, mean since the line before");
  field("sources", record.sources,
        "tokens read of each token file or task, where there are several, since the start of the run; in a stage with "
        "other data since that one's");
}

template <class Visitor>
void visit(SharesRecord& record, Visitor& field) {
  field("seconds", record.seconds, "of the last micro-batch and the sums");
  field("exposed", record.exposed, "seconds in which a link was busy while compute stood still");
  field("hidden", record.hidden, "seconds in which a link was busy while compute worked");
  field("compute", record.compute, "seconds in which it worked");
  field("inside_host", record.inside_host, "seconds in which the link inside a host was busy");
  field("between_hosts", record.between_hosts, "seconds in which the link between hosts was busy");
}

template <class Visitor>
void visit(TraceRecord& record, Visitor& field) {
  field("step", record.step, "that was traced");
  field("seconds", record.seconds, "the slowest rank's");
  field("exposed", record.exposed, "seconds, a mean over ranks");
  field("hidden", record.hidden, "likewise");
  field("ranks", record.ranks, "each rank's");
  field("predicted", record.predicted, "of a plan that was made from a profile");
}

template <class Visitor>
void visit(ScoreRecord& record, Visitor& field) {
  field("loss", record.loss, "of held-out targets [nats per target]");
  field("bits_per_byte", record.bits_per_byte, "of text");
  field("accuracy", record.accuracy, "share of targets than which nothing was held more probable");
  field("tokens", record.tokens, "targets");
  field("bytes", record.bytes, "of text that they stand for");
}

template <class Visitor>
void visit(EvaluationRecord& record, Visitor& field) {
  field("step", record.step, "updates done");
  visit(static_cast<ScoreRecord&>(record), field);
  field("groups", record.groups, "of documents, each by itself");
  field("sources", record.sources, "the text of each token file or task, where there are several");
}

template <class Visitor>
void visit(RoutingRecord& record, Visitor& field) {
  field("layer", record.layer, "number of the block");
  field("slot", record.slot, "in whose place its experts stand, where that is not the feed-forward");
  field("experts", record.experts, "of all kinds");
  field("groups", record.groups, "share of each expert in the choices of a group");
}

template <class Visitor>
void visit(TranslationRecord& record, Visitor& field) {
  field("sentences", record.sentences, "translated");
  field("bleu", record.bleu, "cased, 13a");
  field("bleu_lowercase", record.bleu_lowercase, "of lower-cased text");
  field("chrf", record.chrf, "of characters");
}

template <class Visitor>
void visit(EvaluationFile& record, Visitor& field) {
  visit(static_cast<EvaluationRecord&>(record), field);
  field("routing", record.routing, "of layers with experts");
  field("translation", record.translation, "by direction");
}

template <class Visitor>
void visit(CheckpointRecord& record, Visitor& field) {
  field("step", record.step, "updates done");
  field("seconds", record.seconds, "that training waited");
  field("bytes", record.bytes, "of the file");
}

template <class Visitor>
void visit(EndRecord& record, Visitor& field) {
  field("step", record.step, "updates done");
  field("reason", record.reason, "done or interrupted");
}

}  // namespace launch
