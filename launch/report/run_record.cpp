#include "launch/report/run_record.h"

#include <fstream>
#include <map>
#include <sstream>

#include "launch/records/record_json.h"
#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

namespace fs = std::filesystem;
using Json = RecordJson;

StepRecord to_step(const Json& line) {
  auto step = record_from_json<StepRecord>(line);
  // A run without experts logs zeros, and has neither number.
  if (step.imbalance == 0) step.imbalance = step.dropped = kNoNumber;
  return step;
}

int64_t to_resumed_step(const Json& line) {
  const auto record = record_from_json<ResumeRecord>(line);
  if (!record.step) throw BadRecord("'step' is missing");
  return *record.step;
}

void check_routing(const EvaluationFile& evaluation) {
  for (const RoutingRecord& map : evaluation.routing) {
    for (const auto& [name, shares] : map.groups) {
      const auto found = static_cast<int64_t>(shares.size());
      if (found == map.experts) continue;
      throw BadRecord(
          parallel::concat("'routing.groups.", name, "' has ", found, " numbers for ", map.experts, " experts"));
    }
  }
}

/// Collects the events of metrics.jsonl in the order of the file.
class Collector {
 public:
  void add(const Json& line) {
    if (!line.is_object()) throw BadRecord(parallel::concat("expected an object, found ", line.type_name()));
    const Json event = line.value("event", Json());
    if (!event.is_string()) throw BadRecord("'event' is missing");
    if (event == StartRecord::kEvent) start(record_from_json<StartRecord>(line));
    if (event == StageRecord::kEvent) add(stages_, record_from_json<StageRecord>(line));
    if (event == StepRecord::kEvent) add(steps_, to_step(line));
    if (event == EvaluationRecord::kEvent) add(evaluations_, record_from_json<EvaluationRecord>(line));
    if (event == CheckpointRecord::kEvent) add(checkpoints_, record_from_json<CheckpointRecord>(line));
    if (event == ResumeRecord::kEvent) resume(to_resumed_step(line));
    if (event == EndRecord::kEvent) run_.end = record_from_json<EndRecord>(line);
  }

  void add_cut_line(int64_t number) { run_.cut_lines.push_back(number); }

  RunRecord finish() && {
    for (auto& [step, record] : stages_) run_.stages.push_back(std::move(record));
    for (auto& [step, record] : steps_) run_.steps.push_back(std::move(record));
    for (auto& [step, record] : evaluations_) run_.evaluations.push_back(std::move(record));
    for (auto& [step, record] : checkpoints_) run_.checkpoints.push_back(record);
    return std::move(run_);
  }

 private:
  template <class Record>
  static void add(std::map<int64_t, Record>& records, Record record) {
    const int64_t step = record.step;
    records.insert_or_assign(step, std::move(record));
  }

  /// What an attempt left that never reached a checkpoint is gone.
  void start(const StartRecord& record) {
    stages_.clear();
    steps_.clear();
    evaluations_.clear();
    checkpoints_.clear();
    run_.end.reset();
    run_.start = record;
  }

  void resume(int64_t step) {
    stages_.erase(stages_.upper_bound(step), stages_.end());
    steps_.erase(steps_.upper_bound(step), steps_.end());
    evaluations_.erase(evaluations_.upper_bound(step), evaluations_.end());
    checkpoints_.erase(checkpoints_.upper_bound(step), checkpoints_.end());
    run_.end.reset();
    run_.resumes.push_back(step);
  }

  RunRecord run_;
  std::map<int64_t, StageRecord> stages_;
  std::map<int64_t, StepRecord> steps_;
  std::map<int64_t, EvaluationRecord> evaluations_;
  std::map<int64_t, CheckpointRecord> checkpoints_;
};

Json parse(const std::string& content) {
  return Json::parse(content, /*cb=*/nullptr, /*allow_exceptions=*/false);  // discarded where it is not JSON
}

bool is_resume(const Json& line) {
  return line.is_object() && line.value("event", Json()).is_string() && line["event"] == ResumeRecord::kEvent;
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
    } catch (const BadRecord& fault) {
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
    run.evaluation = record_from_json<EvaluationFile>(evaluation);
    check_routing(*run.evaluation);
  } catch (const BadRecord& fault) {
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
