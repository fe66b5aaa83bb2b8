// What a routed expert is, as a row of a table: its weights, what it computes with them, what that costs.
// defines: ExpertShape, ExpertWeight, GatheredLoad, GatheredCosts, ExpertCosts, ExpertPreset, builtin_experts,
// ExpertRange, expert_ranges, part_of, ExpertSpan, expert_costs
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "moetrain/config/layer_kinds.h"
#include "moetrain/config/moe_config.h"
#include "parallel/base/name_table.h"
#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

// D width, F hidden units

/// One expert, or a rank's part of it.
struct ExpertShape {
  int64_t width = 0;                            // D, of its rows: model.width, or moe.latent
  int64_t hidden = 0;                           // F: ExpertRange::hidden; of a part its share
  Activation activation = Activation::kSwiglu;  // model.activation
  double std = 0.02;                            // of initial weights,
  double output_std = 0.02;                     // and of those that make the output
};

/// A weight of one expert. Those of a layer's experts are one parameter, [experts, dims...], under the name
/// "...moe.experts.NAME", which is the checkpoint's; with its width behind it where moe.expert gives one, "NAME_128".
struct ExpertWeight {
  std::string name;
  std::vector<int64_t> dims;
  double std = 0.02;  // of initial weights, normal; 0: zeros
  /// Which of dims counts hidden units: it is shared out over mesh.expert_tensor, each of whose ranks computes a
  /// summand of the output. None: then no layout may share the expert out.
  std::optional<size_t> hidden_dim = {};
};

/// What a rank's threads have of a layer whose rows are all here.
struct GatheredLoad {
  int64_t rows = 0, busiest = 0;  // of all experts, and of the one with most
  int64_t width = 0;              // of a row
  int64_t threads = 1;
};

/// Of a kind that then gathers its rows by itself (parallel::GatheringCompute), some at a time: of none a copy is kept,
/// nor its output. Numbers.
struct GatheredCosts {
  int64_t kept = 0;    // that forward keeps of a row
  int64_t hidden = 0;  // hidden units
  /// What both make at their peak, beside a result of each row.
  int64_t in_forward(const GatheredLoad& load) const;
  int64_t in_backward(const GatheredLoad& load) const;
};

/// What planning asks, each of one row of one expert on one rank; of a row that is a sequence, for one of its places.
struct ExpertCosts {
  int64_t parameters = 0;    // of the expert, whatever the kind says: from its weights
  int64_t matrices = 0;      // multiplications of the expert forward; backward has twice as many
  double multiply_adds = 0;  // forward; backward twice as many
  double made_again = 0;     // multiply-adds of what backward repeats of forward
  int64_t kept = 0;          // numbers that forward keeps beside the row
  int64_t in_forward = 0;    // numbers that forward makes at its peak and does not keep, beside the row's output
  int64_t in_backward = 0;   // numbers that backward makes at its peak, beside the row's gradient
  std::optional<GatheredCosts> gathered = {};  // instead of the last three where rows are gathered
};

struct ExpertPreset {
  /// In the order in which `compute` takes them.
  std::vector<ExpertWeight> (*weights)(const ExpertShape& shape, const MoeConfig& config) = nullptr;
  /// For a kind whose backward nobody has written: parallel::AutogradCompute. Null of one in an attention's place,
  /// whose two weights are map's, [width, hidden], and reduce's (HeadExperts).
  std::shared_ptr<const parallel::ExpertCompute> (*compute)(const ExpertShape& part, const MoeConfig& config) = nullptr;
  /// Null: those of an AutogradCompute in which each weight of two dimensions multiplies every row once.
  ExpertCosts (*costs)(const ExpertShape& part, const MoeConfig& config) = nullptr;
  /// What only this kind knows: its own table [moe.NAME] in a recipe, and what it refuses of one layer's config.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const MoeConfig& config) = nullptr;
  /// Its rows are whole sequences, packed as SequenceRows has them, outputs likewise; legal with moe.rows = sequences,
  /// where a kind without this sees each place alone.
  bool sequences = false;
  Slot slot = Slot::kFeedForward;  // in whose place it may stand
};

/// moe.expert -> preset. A program outside the tree adds its own rows.
parallel::NameTable<ExpertPreset> builtin_experts();

/// Experts of one layer that are of one kind and width.
struct ExpertRange {
  std::string kind;
  const ExpertPreset* preset = nullptr;  // of the table that it was looked up in
  int64_t first = 0, count = 0;
  int64_t hidden = 0;           // moe.hidden, or the width given
  std::string section = "moe";  // whose keys say so
  std::string suffix = {};      // of its weights' names: "_128" where a width is given
};

/// What MoeConfig::expert says: one kind for all, or several with their numbers in the router's order,
/// "gru:1,feed_forward:3", each perhaps of a width of its own, "feed_forward:4,feed_forward(128):4". Where experts
/// share weights, it counts sets of weights (weight_sets). UserError naming moe.expert: another text, an unknown kind,
/// one that names the same weights twice, two kinds of one width whose weights have a name in common, numbers that do
/// not add up to moe.experts.
std::vector<ExpertRange> expert_ranges(const MoeConfig& config, const parallel::NameTable<ExpertPreset>& table);

/// Whether MoeConfig::expert names that kind.
bool names_kind(const std::string& expert, const std::string& kind);

/// One of `parts` parts of an expert of this range, in a layer whose experts are otherwise of `shape`.
ExpertShape part_of(const ExpertRange& range, ExpertShape shape, int64_t parts = 1);

/// Experts first to first + count of a layer.
struct ExpertSpan {
  int64_t first = 0, count = 0;
};

/// Of one of `parts` parts of an expert; where those of the span are of several kinds or widths, their mean. Numbers of
/// a row are of each kind of the layer its widest, for what is kept has a place for each row (ExpertMix).
ExpertCosts expert_costs(const std::vector<ExpertRange>& ranges, const ExpertSpan& span, const ExpertShape& shape,
                         int64_t parts, const MoeConfig& config);

}  // namespace moetrain
