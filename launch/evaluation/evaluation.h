// defines: Evaluation, evaluate, describe, record_of, file_of: held-out loss, overall and per group, and who uses which
// expert
#pragma once
#include <string>
#include <vector>

#include "launch/batches/batches.h"
#include "launch/ranks/groups.h"
#include "launch/records/records.h"
#include "launch/use/use_recorder.h"
#include "moetrain/models/model.h"

namespace launch {

struct GroupScore {
  std::string name;
  double nll = 0;                // [nats], summed over the group's targets
  int64_t tokens = 0;            // targets: tokens, or a classifier's documents
  int64_t bytes = 0;             // of text
  double correct = 0;            // targets than which nothing was held more probable; NaN where that is no question
  double loss() const;           // [nats per token], NaN without a token
  double accuracy() const;       // correct / tokens, likewise
  double bits_per_byte() const;  // NaN without a byte
};

/// "loss 2.31 nats/token, 1.9 bits per byte"; of targets that stand for no bytes "loss 0.31 nats/target, accuracy 0.9".
std::string describe(const GroupScore& score);

/// choices[g][e]: how often the tokens of group g chose expert e.
struct GroupRouting {
  moetrain::LayerSite site;
  std::vector<std::vector<double>> choices;
};

struct Evaluation {
  GroupScore overall;
  std::vector<GroupScore> groups;
  std::vector<GroupScore> sources;  // of each token file, where there are several
  std::vector<GroupRouting> routing;
};

/// Every held-out target is predicted once, without smoothing, dropout or noise. UserError where the loss is not
/// finite. Collective. `recorder`: sees the layers, of a model that is whole on every rank; null: nobody does.
Evaluation evaluate(moetrain::Model& model, const moetrain::Objective& objective, const HeldOutBatches& batches,
                    const Groups& groups, UseRecorder* recorder = nullptr);

/// Of the held-out groups.
std::vector<std::string> group_names(const HeldOutBatches& batches);

/// After `update`; without who uses which expert.
EvaluationRecord record_of(const Evaluation& evaluation, int64_t update);
/// With it.
EvaluationFile file_of(const Evaluation& evaluation, int64_t update);

}  // namespace launch
