// What a run folder says about its run, as plain values. A number that is absent or null is a NaN.
// defines: RunRecord and its parts, read_run
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/profiles/trace_file.h"

namespace launch::run_report {

/// Names with numbers, in the order of the file.
using NamedNumbers = std::vector<std::pair<std::string, double>>;

struct StartRecord {
  std::string time, build, recipe_hash, model;
  double ranks, threads;
  double total_parameters, active_parameters;
};

/// One MoE layer in one step line.
struct LayerRecord {
  int64_t layer;
  std::vector<double> load;  // fraction of the assignments, per expert
  double dropped;            // assignments
  double entropy;            // of the router's distribution [nats]
};

struct StepRecord {
  int64_t step;
  double tokens;      // since the start of the run
  NamedNumbers loss;  // by term; "total" is their sum
  double gradient_norm, learning_rate;
  double tokens_per_second;
  NamedNumbers seconds;  // by phase, per update
  double imbalance;      // busiest expert's load / mean load
  double dropped;        // assignments, all layers
  std::vector<LayerRecord> layers;
};

/// Held-out scores of one group of documents, e.g. one language.
struct GroupScore {
  std::string name;
  double loss;  // [nats per target]
  double bits_per_byte;
  double accuracy;  // NaN in records from before it was written
  double tokens, bytes;
};

struct Evaluation {
  int64_t step;
  double loss;
  double bits_per_byte;
  double accuracy;
  std::vector<GroupScore> groups;
};

/// Of the translations of one direction.
struct TranslationRecord {
  std::string direction;
  double sentences, bleu, bleu_lowercase, chrf;
};

struct CheckpointRecord {
  int64_t step;
  double seconds, bytes;
};

/// Which part of a group's tokens goes to which expert, in one layer.
struct RoutingMap {
  int64_t layer;
  int64_t experts;
  std::vector<std::pair<std::string, std::vector<double>>> groups;
};

struct EndRecord {
  int64_t step;
  std::string reason;
};

struct RunRecord {
  std::string name;  // of the folder
  std::optional<StartRecord> start;
  std::vector<StepRecord> steps;        // by step, each once
  std::vector<Evaluation> evaluations;  // by step, each once
  std::vector<CheckpointRecord> checkpoints;
  std::vector<int64_t> resumes;
  std::optional<EndRecord> end;                // nothing while the run goes on, and after a kill
  std::optional<Evaluation> evaluation;        // evaluation.json
  std::vector<RoutingMap> routing;             // evaluation.json
  std::vector<TranslationRecord> translation;  // evaluation.json
  std::optional<StepRecording> trace;          // trace.json
  std::optional<std::string> recipe;           // text of recipe.toml
  std::vector<int64_t> cut_lines;              // numbers of lines cut short by a kill, left out
};

/// Reads the folder. Events of other names are left out. A resume at step S discards what was logged after S
/// before it; of a step logged twice the later line wins. A line cut short is left out where a kill explains it:
/// the last of the file without a line end, or the one before a resume.
RunRecord read_run(const std::filesystem::path& run_folder);

}  // namespace launch::run_report
