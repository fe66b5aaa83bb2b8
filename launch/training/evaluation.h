// defines: Evaluation, evaluate, to_json: held-out loss, overall and per group, and who uses which expert
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"
#include "launch/training/groups.h"
#include "moetrain/models/decoder_lm.h"

namespace launch {

struct GroupScore {
  std::string name;
  double nll = 0;  // [nats], summed over the group's targets
  int64_t tokens = 0;
  int64_t bytes = 0;                                                                  // of text
  double loss() const { return nll / static_cast<double>(tokens > 0 ? tokens : 1); }  // [nats per token]
  double bits_per_byte() const;
};

/// choices[g][e]: how often the tokens of group g chose expert e.
struct GroupRouting {
  int64_t layer = 0;
  std::vector<std::vector<double>> choices;
};

struct Evaluation {
  GroupScore overall;
  std::vector<GroupScore> groups;
  std::vector<GroupRouting> routing;
};

struct EvaluationOptions {
  int64_t sequence_length = 128;
  int64_t batch = 16;  // sequences of a forward pass, over all ranks
};

/// Every token of the held-out documents is predicted once, in windows; no expert drops anything.
/// UserError where nothing was held out. Collective.
Evaluation evaluate(moetrain::DecoderLm& model, const data::TokenCorpus& corpus, const EvaluationOptions& options,
                    const Groups& groups);

/// {"loss", "bits_per_byte", "groups": {name: {...}}} and, with routing, "routing": [{"layer", "experts", "groups"}].
nlohmann::json to_json(const Evaluation& evaluation, bool with_routing);

}  // namespace launch
