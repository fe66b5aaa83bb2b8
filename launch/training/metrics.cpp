#include "launch/training/metrics.h"

#include <algorithm>

#include "launch/recipe/writer.h"
#include "launch/runs/build_id.h"
#include "launch/runs/clock.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// Cuts the file back to its last newline.
void drop_torn_line(const std::filesystem::path& path) {
  std::ifstream old(path, std::ios::binary);
  if (!old) return;
  const std::string text((std::istreambuf_iterator<char>(old)), std::istreambuf_iterator<char>());
  const size_t end = text.rfind('\n');
  const size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole == text.size()) return;
  std::error_code error;
  std::filesystem::resize_file(path, whole, error);
  if (error) parallel::user_error("cannot write ", path.string(), ": ", error.message());
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path) {
  drop_torn_line(path);
  file_.open(path, std::ios::app);
  if (!file_) parallel::user_error("cannot write ", path.string());
}

void MetricsFile::write_line(const char* event, const RecordJson& fields) {
  RecordJson line;
  line["event"] = event;
  line.update(fields);
  // A group's name may be any bytes.
  file_ << line.dump(-1, ' ', false, RecordJson::error_handler_t::replace) << '\n' << std::flush;
  failed_ = failed_ || !file_;
}

StepRecord record_of(const StepReport& report) {
  StepRecord record{.loss = {{"total", report.total_loss()}},
                    .gradient_norm = report.gradient_norm,
                    .learning_rate = report.learning_rate,
                    .imbalance = report.imbalance()};
  record.loss.insert(record.loss.end(), report.losses.begin(), report.losses.end());
  for (const LayerLoad& layer : report.layers) {
    record.layers.push_back({.layer = layer.site.block,
                             .slot = said_slot(layer.site.slot),
                             .load = layer.load,
                             .dropped = static_cast<double>(layer.dropped),
                             .entropy = layer.entropy});
  }
  return record;
}

StartRecord start_record(const Recipe& recipe, const Groups& groups, int64_t update,
                         const std::vector<ChangedKey>* changes) {
  StartRecord record;
  record.step = update;
  record.time = utc_now();
  record.build = build_id();
  record.recipe_hash = hash_text(recipe_hash(recipe));
  record.ranks = static_cast<double>(groups.control->size());
  record.mesh = groups.mesh->shape().describe();
  record.threads = static_cast<double>(recipe.run.threads);
  if (changes == nullptr) return record;
  record.changed.emplace();
  for (const ChangedKey& key : *changes) record.changed->push_back({key.name, {key.then, key.now}});
  return record;
}

std::optional<NamedNumbers> tokens_by_source(const std::vector<SourceTokens>& sources) {
  if (sources.empty()) return std::nullopt;
  NamedNumbers tokens;
  for (const SourceTokens& source : sources) tokens.emplace_back(source.name, static_cast<double>(source.read));
  return tokens;
}

NamedNumbers mean_seconds(const PhaseSeconds& seconds, int64_t updates) {
  const double n = static_cast<double>(std::max<int64_t>(1, updates));
  return {{"data_wait", seconds.data_wait / n}, {"data", seconds.data / n},     {"forward", seconds.forward / n},
          {"backward", seconds.backward / n},   {"reduce", seconds.reduce / n}, {"optimizer", seconds.optimizer / n}};
}

}  // namespace launch
