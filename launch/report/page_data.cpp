#include "launch/report/page_data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "launch/report/page_notes.h"
#include "launch/report/stage_data.h"
#include "launch/report/thinning.h"
#include "launch/report/timeline_data.h"

namespace launch::run_report {
namespace {

using Json = nlohmann::ordered_json;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

/// The mean of what is not a NaN, else a NaN.
class Mean {
 public:
  void add(double value) {
    if (std::isnan(value)) return;
    sum_ += value;
    ++count_;
  }
  double value() const { return count_ == 0 ? kNaN : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

double value_of(const NamedNumbers& numbers, const std::string& name) {
  const auto found = std::ranges::find(numbers, name, &NamedNumbers::value_type::first);
  return found == numbers.end() ? kNaN : found->second;
}

/// The curve of one number of every step line; empty where no line has it.
template <class Read>
std::vector<Point> curve_of(const std::vector<StepRecord>& steps, Read read) {
  std::vector<Point> points;
  for (const StepRecord& step : steps) points.push_back({static_cast<double>(step.step), read(step)});
  if (std::all_of(points.begin(), points.end(), [](const Point& point) { return std::isnan(point.value); })) return {};
  return points;
}

Json to_json(const std::vector<Point>& points) {
  Json list = Json::array();
  for (const Point& point : thinned(points)) list.push_back({point.step, point.value});
  return list;
}

// ---- Losses. ----

std::vector<std::string> loss_terms(const RunRecord& run) {
  std::vector<std::string> names;
  for (const StepRecord& step : run.steps)
    for (const auto& [name, value] : step.loss)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

std::vector<Point> loss_curve(const RunRecord& run, const std::string& term) {
  return curve_of(run.steps, [&](const StepRecord& step) { return value_of(step.loss, term); });
}

/// What the model predicts is the loss to watch; the other terms are shown apart.
Json losses(const RunRecord& run) {
  std::string watched = "total";
  for (const char* predicted : {"next_token", "classification", "flow", "noise"}) {
    if (!loss_curve(run, predicted).empty()) watched = predicted;
  }
  const std::vector<Point> training = loss_curve(run, watched);
  Json data{{"training_name", watched == "next_token" ? "next token" : watched}, {"training", to_json(training)}};
  const size_t window = std::max<size_t>(training.size() / 40, 2) * 2 + 1;  // about a twentieth of the run
  data["training_mean"] = training.size() < 50 ? Json::array() : to_json(running_mean(training, window));
  data["auxiliary"] = Json::array();
  for (const std::string& term : loss_terms(run)) {
    const std::vector<Point> points = loss_curve(run, term);
    if (term == "total" || term == watched || points.empty()) continue;
    data["auxiliary"].push_back({{"name", term}, {"points", to_json(points)}});
  }
  return data;
}

// ---- Held-out scores. ----

Json to_json(const EvaluationRecord& evaluation) {
  Json groups = Json::array();
  for (const auto& [name, group] : evaluation.groups)
    groups.push_back({{"name", name},
                      {"loss", group.loss},
                      {"bits_per_byte", group.bits_per_byte},
                      {"accuracy", group.accuracy},
                      {"tokens", group.tokens},
                      {"bytes", group.bytes}});
  return {{"step", evaluation.step},
          {"loss", evaluation.loss},
          {"bits_per_byte", evaluation.bits_per_byte},
          {"accuracy", evaluation.accuracy},
          {"groups", groups}};
}

const EvaluationRecord* last_evaluation(const RunRecord& run) {
  if (run.evaluation) return &*run.evaluation;
  return run.evaluations.empty() ? nullptr : &run.evaluations.back();
}

/// A number of held-out targets, and where it stands.
struct Score {
  const char* name;
  double ScoreRecord::*number;
};

/// What groups are compared by: bits per byte where their targets stand for bytes, how often the target was held most
/// probable where there is such a thing, else the loss.
Score score_of(const RunRecord& run) {
  const Score bits{"bits_per_byte", &ScoreRecord::bits_per_byte};
  const Score accuracy{"accuracy", &ScoreRecord::accuracy};
  const EvaluationRecord* last = last_evaluation(run);
  for (const Score& score : {bits, accuracy}) {
    if (last == nullptr || std::isfinite(last->*score.number)) return score;
  }
  return std::isfinite(last->loss) ? Score{"loss", &ScoreRecord::loss} : bits;
}

Json held_out(const RunRecord& run) {
  const Score score = score_of(run);
  std::vector<Point> losses;
  std::vector<std::string> names;
  std::map<std::string, std::vector<Point>> curves;
  for (const EvaluationRecord& evaluation : run.evaluations) {
    const auto step = static_cast<double>(evaluation.step);
    losses.push_back({step, evaluation.loss});
    for (const auto& [name, group] : evaluation.groups) {
      if (!curves.contains(name)) names.push_back(name);
      curves[name].push_back({step, group.*score.number});
    }
  }
  Json data{{"loss", to_json(losses)}, {"last", nullptr}, {"groups", Json::array()}};
  data["score"] = score.name;
  if (const EvaluationRecord* last = last_evaluation(run)) data["last"] = to_json(*last);
  for (const std::string& name : names) data["groups"].push_back({{"name", name}, {"points", to_json(curves[name])}});
  return data;
}

// ---- Experts. ----

/// Mean load x experts of every expert in every stretch: 1 is an even share.
Json load_map(const std::vector<std::pair<int64_t, const LayerRecord*>>& lines) {
  size_t experts = 0;
  for (const auto& [step, layer] : lines) experts = std::max(experts, layer->load.size());
  Json first = Json::array(), last = Json::array(), columns = Json::array();
  for (const Stretch& stretch : stretches(lines.size(), kMaxColumns)) {
    std::vector<Mean> means(experts);
    for (size_t i = stretch.begin; i < stretch.end; ++i) {
      const std::vector<double>& load = lines[i].second->load;
      for (size_t e = 0; e < load.size(); ++e) means[e].add(load[e] * static_cast<double>(load.size()));
    }
    Json column = Json::array();
    for (const Mean& mean : means) column.push_back(rounded(mean.value()));
    columns.push_back(column);
    first.push_back(lines[stretch.begin].first);
    last.push_back(lines[stretch.end - 1].first);
  }
  return {{"experts", experts}, {"first", first}, {"last", last}, {"columns", columns}};
}

Json layers(const RunRecord& run) {
  std::map<Json, std::vector<std::pair<int64_t, const LayerRecord*>>> by_layer;
  for (const StepRecord& step : run.steps)
    for (const LayerRecord& layer : step.layers) by_layer[layer_label(layer)].emplace_back(step.step, &layer);
  Json all = Json::array();
  for (const auto& [layer, lines] : by_layer) {
    std::vector<Point> entropy;
    for (const auto& [step, record] : lines) entropy.push_back({static_cast<double>(step), record->entropy});
    all.push_back({{"layer", layer}, {"load", load_map(lines)}, {"entropy", to_json(entropy)}});
  }
  return all;
}

Json routing(const RunRecord& run) {
  Json all = Json::array();
  if (!run.evaluation) return all;
  for (const RoutingRecord& map : run.evaluation->routing) {
    Json groups = Json::array();
    for (const auto& [name, shares] : map.groups) groups.push_back({{"name", name}, {"share", shares}});
    all.push_back({{"layer", layer_label(map)}, {"experts", map.experts}, {"groups", groups}});
  }
  return all;
}

Json translation(const RunRecord& run) {
  Json all = Json::array();
  if (!run.evaluation) return all;
  for (const auto& [direction, score] : run.evaluation->translation) {
    all.push_back({{"direction", direction},
                   {"sentences", score.sentences},
                   {"bleu", score.bleu},
                   {"bleu_lowercase", score.bleu_lowercase},
                   {"chrf", score.chrf}});
  }
  return all;
}

// ---- Time. ----

/// The phases in the order of an update, then any others in the order of the file.
std::vector<std::string> phase_names(const RunRecord& run) {
  std::vector<std::string> found, names{"data_wait", "data", "forward", "backward", "reduce", "optimizer"};
  for (const StepRecord& step : run.steps)
    for (const auto& [name, seconds] : step.seconds)
      if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
  std::erase_if(names, [&](const auto& name) { return std::find(found.begin(), found.end(), name) == found.end(); });
  for (const std::string& name : found)
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

Json phases(const RunRecord& run) {
  Json all = Json::array(), first = Json::array(), last = Json::array();
  const std::vector<Stretch> columns = stretches(run.steps.size(), kPhaseColumns);
  for (const Stretch& column : columns) {
    first.push_back(run.steps[column.begin].step);
    last.push_back(run.steps[column.end - 1].step);
  }
  for (const std::string& name : phase_names(run)) {
    Mean whole;
    Json seconds = Json::array();
    for (const Stretch& column : columns) {
      Mean mean;
      for (size_t i = column.begin; i < column.end; ++i) mean.add(value_of(run.steps[i].seconds, name));
      seconds.push_back(mean.value());
    }
    for (const StepRecord& step : run.steps) whole.add(value_of(step.seconds, name));
    all.push_back({{"name", name}, {"mean", whole.value()}, {"seconds", seconds}});
  }
  return {{"first", first}, {"last", last}, {"phases", all}};
}

Json checkpoints(const RunRecord& run) {
  if (run.checkpoints.empty()) return nullptr;
  Mean seconds;
  for (const CheckpointRecord& checkpoint : run.checkpoints) seconds.add(checkpoint.seconds);
  return {{"count", run.checkpoints.size()},
          {"mean_seconds", seconds.value()},
          {"last_step", run.checkpoints.back().step},
          {"last_bytes", run.checkpoints.back().bytes}};
}

// ---- Key numbers. ----

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return kNaN;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Dropped assignments, and their share of tokens x MoE layers, over the lines that tell both.
Json dropped(const RunRecord& run) {
  double count = 0, passes = 0, tokens_before = 0;
  bool known = false;
  for (const StepRecord& step : run.steps) {
    if (!std::isnan(step.dropped)) count += step.dropped, known = true;
    if (!std::isnan(step.tokens)) {
      passes += (step.tokens - tokens_before) * static_cast<double>(step.layers.size());
      tokens_before = step.tokens;
    }
  }
  return {{"count", known ? count : kNaN}, {"share", known && passes > 0 ? count / passes : kNaN}};
}

Json summary(const RunRecord& run) {
  std::vector<double> speeds;
  Mean imbalance;
  double worst_imbalance = kNaN;
  for (const StepRecord& step : run.steps) {
    speeds.push_back(step.tokens_per_second);
    imbalance.add(step.imbalance);
    worst_imbalance = std::fmax(worst_imbalance, step.imbalance);
  }
  return {{"lines", run.steps.size()},
          {"steps", run.steps.empty() ? run.evaluations.back().step : run.steps.back().step},
          {"tokens", run.steps.empty() ? kNaN : run.steps.back().tokens},
          {"tokens_per_second", median(speeds)},
          {"imbalance_mean", imbalance.value()},
          {"imbalance_max", worst_imbalance},
          {"dropped", dropped(run)},
          {"held_out_from", run.evaluation ? "evaluation.json" : "the last evaluation of the run"}};
}

Json start(const RunRecord& run) {
  if (!run.start) return nullptr;
  return {{"time", run.start->time},
          {"build", run.start->build},
          {"recipe_hash", run.start->recipe_hash},
          {"model", run.start->model},
          {"ranks", run.start->ranks},
          {"threads", run.start->threads},
          {"total_parameters", run.start->parameters.total},
          {"active_parameters", run.start->parameters.active},
          {"trained_parameters", run.start->parameters.trained}};
}

/// Tokens read of each token file, as the last line of a step tells.
Json sources(const RunRecord& run) {
  Json all = Json::array();
  if (run.steps.empty() || !run.steps.back().sources) return all;
  for (const auto& [name, tokens] : *run.steps.back().sources) all.push_back({{"name", name}, {"tokens", tokens}});
  return all;
}

}  // namespace

nlohmann::ordered_json page_data(const RunRecord& run) {
  const auto curve = [&](double StepRecord::*member) {
    return to_json(curve_of(run.steps, [member](const StepRecord& step) { return step.*member; }));
  };
  Json data{{"name", run.name}, {"start", start(run)}, {"end", nullptr}, {"notes", page_notes(run)}};
  if (run.end) data["end"] = {{"step", run.end->step}, {"reason", run.end->reason}};
  data["summary"] = summary(run);
  data["sources"] = sources(run);
  data["stages"] = stage_data(run);
  data["losses"] = losses(run);
  data["held_out"] = held_out(run);
  data["curves"] = {{"gradient_norm", curve(&StepRecord::gradient_norm)},
                    {"learning_rate", curve(&StepRecord::learning_rate)},
                    {"tokens_per_second", curve(&StepRecord::tokens_per_second)},
                    {"imbalance", curve(&StepRecord::imbalance)},
                    {"dropped", curve(&StepRecord::dropped)}};
  data["layers"] = layers(run);
  data["routing"] = routing(run);
  data["translation"] = translation(run);
  data["time"] = phases(run);
  data["checkpoints"] = checkpoints(run);
  data["timeline"] = run.trace ? timeline_data(*run.trace) : Json(nullptr);
  data["recipe"] = run.recipe ? Json(*run.recipe) : Json(nullptr);
  return data;
}

}  // namespace launch::run_report
