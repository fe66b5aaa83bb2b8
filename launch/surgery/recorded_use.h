// What an operation chooses by. defines: kUseOfSeam, UseConfig, visit_use, RecordedUse, recorded_bound, largest
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "launch/surgery/expert_rows.h"
#include "launch/use/expert_use.h"

namespace launch {

/// In place of a file: the use that is recorded at the seam between two stages, of held-out text.
constexpr const char* kUseOfSeam = "seam";

/// Keys of an operation that may read a recorded use.
struct UseConfig {
  std::string use;
  std::string groups;
};

template <class Visitor>
void visit_use(UseConfig& config, Visitor& field) {
  field("use", config.use, parallel::anything(),
        "file of `moetrain evaluate IN --record FILE`, where that is chosen by; in a stage behind another \"seam\": "
        "what is "
        "recorded of held-out text when it begins");
  field("groups", config.groups, parallel::anything(),
        "whose text counts, of the recorded use's groups, such as \"en,de\"; empty: all");
}

/// The use that such keys name, of a parent. While a run of stages is planned a use that is not there yet is zeros:
/// what is chosen by it is another choice of the same shape.
class RecordedUse {
 public:
  /// UserError: no file named, whatever read_use refuses, another model's, a group that is none; of a stage's model a
  /// file that cannot be of it, or a seam where there is none.
  RecordedUse(const UseConfig& config, const Parent& parent);

  /// Names of all that it tells apart. UserError where it is not there yet.
  const std::vector<std::string>& groups() const;
  /// Of one part of one block (kExperts: those in its place, an attention's too), one of its sums [G, ...] over the
  /// chosen groups, [...] in float64.
  at::Tensor sum(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of) const;
  /// Likewise, the hidden units of one expert.
  std::vector<double> units(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of, int64_t expert) const;

 private:
  const LayerUse& layer(const ExpertBlock& block, LayerPart part) const;

  std::string path_;
  std::shared_ptr<const ExpertUse> use_;  // null: not there yet
  int64_t dense_units_;                   // of the parent's feed-forwards
  std::vector<int64_t> groups_;
};

/// How far sums that a recording gave may differ from those of another layout, as a share of themselves.
double recorded_bound(const Recipe& recipe);

/// The `count` that are worth most, ascending; of those that differ by no more than `bound`, a share of themselves, the
/// first.
std::vector<int64_t> largest(const std::vector<double>& worth, int64_t count, double bound);

}  // namespace launch
