#include "launch/report/run_record.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A field that cannot be used; whoever knows the file and line turns it into a UserError.
struct BadField : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void bad_field(const std::string& key, const std::string& expected, const Json& found) {
  throw BadField(parallel::concat("'", key, "' must be ", expected, ", found ", found.type_name()));
}

const Json* find(const Json& object, const std::string& key) {
  const auto field = object.find(key);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

double to_number(const Json& value, const std::string& key) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value.is_number()) bad_field(key, "a number", value);
  return value.get<double>();
}

double number(const Json& object, const std::string& key) {
  const Json* field = find(object, key);
  return field == nullptr ? std::numeric_limits<double>::quiet_NaN() : to_number(*field, key);
}

int64_t whole_number(const Json& object, const std::string& key) {
  const Json* field = find(object, key);
  if (field == nullptr) throw BadField(parallel::concat("'", key, "' is missing"));
  if (!field->is_number_integer() || field->get<int64_t>() < 0) bad_field(key, "a whole number, at least 0", *field);
  return field->get<int64_t>();
}

std::string text(const Json& object, const std::string& key) {
  const Json* field = find(object, key);
  if (field == nullptr) return "";
  if (!field->is_string()) bad_field(key, "text", *field);
  return field->get<std::string>();
}

const Json& child(const Json& object, const std::string& key, Json::value_t kind) {
  static const Json kNoObject = Json::object(), kNoArray = Json::array();
  const Json* field = find(object, key);
  if (field == nullptr) return kind == Json::value_t::object ? kNoObject : kNoArray;
  if (field->type() != kind) bad_field(key, kind == Json::value_t::object ? "an object" : "a list", *field);
  return *field;
}

const Json& object_of(const Json& parent, const std::string& key) { return child(parent, key, Json::value_t::object); }

const Json& list_of(const Json& parent, const std::string& key) { return child(parent, key, Json::value_t::array); }

NamedNumbers named_numbers(const Json& parent, const std::string& key) {
  NamedNumbers all;
  for (const auto& [name, value] : object_of(parent, key).items())
    all.emplace_back(name, to_number(value, key + "." + name));
  return all;
}

std::vector<double> numbers(const Json& list, const std::string& key) {
  if (!list.is_array()) bad_field(key, "a list", list);
  std::vector<double> all;
  for (const Json& value : list) all.push_back(to_number(value, key));
  return all;
}

const Json& element(const Json& value, const std::string& key) {
  if (!value.is_object()) bad_field(key, "a list of objects", value);
  return value;
}

StartRecord to_start(const Json& line) {
  const Json& parameters = object_of(line, "parameters");
  return {.time = text(line, "time"),
          .build = text(line, "build"),
          .recipe_hash = text(line, "recipe_hash"),
          .model = text(line, "model"),
          .ranks = number(line, "ranks"),
          .threads = number(line, "threads"),
          .total_parameters = number(parameters, "total"),
          .active_parameters = number(parameters, "active")};
}

StepRecord to_step(const Json& line) {
  StepRecord step{.step = whole_number(line, "step"),
                  .tokens = number(line, "tokens"),
                  .loss = named_numbers(line, "loss"),
                  .gradient_norm = number(line, "gradient_norm"),
                  .learning_rate = number(line, "learning_rate"),
                  .tokens_per_second = number(line, "tokens_per_second"),
                  .seconds = named_numbers(line, "seconds"),
                  .imbalance = number(line, "imbalance"),
                  .dropped = number(line, "dropped"),
                  .layers = {}};
  // A run without experts logs zeros, and has neither number.
  if (step.imbalance == 0) step.imbalance = step.dropped = std::numeric_limits<double>::quiet_NaN();
  for (const Json& layer : list_of(line, "layers")) {
    element(layer, "layers");
    step.layers.push_back({.layer = whole_number(layer, "layer"),
                           .load = numbers(list_of(layer, "load"), "layers.load"),
                           .dropped = number(layer, "dropped"),
                           .entropy = number(layer, "entropy")});
  }
  return step;
}

Evaluation to_evaluation(const Json& line) {
  Evaluation evaluation{.step = whole_number(line, "step"),
                        .loss = number(line, "loss"),
                        .bits_per_byte = number(line, "bits_per_byte"),
                        .accuracy = number(line, "accuracy"),
                        .groups = {}};
  for (const auto& [name, group] : object_of(line, "groups").items()) {
    if (!group.is_object()) bad_field("groups." + name, "an object", group);
    evaluation.groups.push_back({.name = name,
                                 .loss = number(group, "loss"),
                                 .bits_per_byte = number(group, "bits_per_byte"),
                                 .accuracy = number(group, "accuracy"),
                                 .tokens = number(group, "tokens"),
                                 .bytes = number(group, "bytes")});
  }
  return evaluation;
}

std::vector<TranslationRecord> to_translation(const Json& evaluation) {
  std::vector<TranslationRecord> all;
  for (const auto& [direction, score] : object_of(evaluation, "translation").items()) {
    if (!score.is_object()) bad_field("translation." + direction, "an object", score);
    all.push_back({.direction = direction,
                   .sentences = number(score, "sentences"),
                   .bleu = number(score, "bleu"),
                   .bleu_lowercase = number(score, "bleu_lowercase"),
                   .chrf = number(score, "chrf")});
  }
  return all;
}

RoutingMap to_routing_map(const Json& entry) {
  element(entry, "routing");
  RoutingMap map{.layer = whole_number(entry, "layer"), .experts = whole_number(entry, "experts"), .groups = {}};
  for (const auto& [name, shares] : object_of(entry, "groups").items()) {
    const std::string key = "routing.groups." + name;
    map.groups.emplace_back(name, numbers(shares, key));
    const auto found = static_cast<int64_t>(map.groups.back().second.size());
    if (found != map.experts)
      throw BadField(parallel::concat("'", key, "' has ", found, " numbers for ", map.experts, " experts"));
  }
  return map;
}

/// Collects the events of metrics.jsonl in the order of the file.
class Collector {
 public:
  void add(const Json& line) {
    if (!line.is_object()) throw BadField(parallel::concat("expected an object, found ", line.type_name()));
    const std::string event = text(line, "event");
    if (event.empty()) throw BadField("'event' is missing");
    if (event == "start") start(to_start(line));
    if (event == "step") add_step(to_step(line));
    if (event == "evaluate") add_evaluation(to_evaluation(line));
    if (event == "checkpoint") add_checkpoint(line);
    if (event == "resume") resume(whole_number(line, "step"));
    if (event == "end") run_.end = EndRecord{.step = whole_number(line, "step"), .reason = text(line, "reason")};
  }

  void add_cut_line(int64_t number) { run_.cut_lines.push_back(number); }

  RunRecord finish() && {
    for (auto& [step, record] : steps_) run_.steps.push_back(std::move(record));
    for (auto& [step, record] : evaluations_) run_.evaluations.push_back(std::move(record));
    for (auto& [step, record] : checkpoints_) run_.checkpoints.push_back(record);
    return std::move(run_);
  }

 private:
  void add_step(StepRecord record) { steps_.insert_or_assign(record.step, std::move(record)); }
  void add_evaluation(Evaluation record) { evaluations_.insert_or_assign(record.step, std::move(record)); }
  void add_checkpoint(const Json& line) {
    const CheckpointRecord record{
        .step = whole_number(line, "step"), .seconds = number(line, "seconds"), .bytes = number(line, "bytes")};
    checkpoints_.insert_or_assign(record.step, record);
  }

  /// What an attempt left that never reached a checkpoint is gone.
  void start(const StartRecord& record) {
    steps_.clear();
    evaluations_.clear();
    checkpoints_.clear();
    run_.end.reset();
    run_.start = record;
  }

  void resume(int64_t step) {
    steps_.erase(steps_.upper_bound(step), steps_.end());
    evaluations_.erase(evaluations_.upper_bound(step), evaluations_.end());
    checkpoints_.erase(checkpoints_.upper_bound(step), checkpoints_.end());
    run_.end.reset();
    run_.resumes.push_back(step);
  }

  RunRecord run_;
  std::map<int64_t, StepRecord> steps_;
  std::map<int64_t, Evaluation> evaluations_;
  std::map<int64_t, CheckpointRecord> checkpoints_;
};

Json parse(const std::string& content) {
  return Json::parse(content, /*cb=*/nullptr, /*allow_exceptions=*/false);  // discarded where it is not JSON
}

bool is_resume(const Json& line) {
  return line.is_object() && line.value("event", Json()).is_string() && line["event"] == "resume";
}

RunRecord read_metrics(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) parallel::user_error(path.string(), ": cannot be read; a run folder has the metrics of its run there");
  Collector collector;
  std::string content;
  int64_t cut_line = 0;  // number of a line that is not JSON, until the next one says whether a kill explains it
  for (int64_t number = 1; std::getline(file, content); ++number) {
    const bool last = file.eof();  // the file ends without a line end
    if (content.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json line = parse(content);
    if (cut_line != 0 && !is_resume(line)) parallel::user_error(path.string(), ":", cut_line, ": is not JSON");
    if (cut_line != 0) collector.add_cut_line(cut_line);
    cut_line = line.is_discarded() ? number : 0;
    if (last && cut_line != 0) return collector.add_cut_line(number), std::move(collector).finish();
    if (cut_line != 0) continue;
    try {
      collector.add(line);
    } catch (const BadField& fault) {
      parallel::user_error(path.string(), ":", number, ": ", fault.what());
    }
  }
  if (cut_line != 0) parallel::user_error(path.string(), ":", cut_line, ": is not JSON");
  return std::move(collector).finish();
}

std::optional<std::string> read_text(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) parallel::user_error(path.string(), ": cannot be read");
  return content.str();
}

void read_evaluation(const fs::path& path, RunRecord& run) {
  const std::optional<std::string> content = read_text(path);
  if (!content) return;
  const Json evaluation = parse(*content);
  if (!evaluation.is_object()) parallel::user_error(path.string(), ": is not a JSON object");
  try {
    run.evaluation = to_evaluation(evaluation);
    for (const Json& entry : list_of(evaluation, "routing")) run.routing.push_back(to_routing_map(entry));
    run.translation = to_translation(evaluation);
  } catch (const BadField& fault) {
    parallel::user_error(path.string(), ": ", fault.what());
  }
}

std::string folder_name(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

}  // namespace

RunRecord read_run(const fs::path& run_folder) {
  if (!fs::is_directory(run_folder)) parallel::user_error(run_folder.string(), ": no such run folder");
  const fs::path metrics = run_folder / "metrics.jsonl";
  RunRecord run = read_metrics(metrics);
  if (run.steps.empty() && run.evaluations.empty())
    parallel::user_error(metrics.string(), ": has no line of a step or an evaluation: nothing to report yet");
  run.name = folder_name(run_folder);
  read_evaluation(run_folder / "evaluation.json", run);
  if (fs::exists(run_folder / "trace.json")) run.trace = read_trace(run_folder / "trace.json");
  run.recipe = read_text(run_folder / "recipe.toml");
  return run;
}

}  // namespace launch::run_report
