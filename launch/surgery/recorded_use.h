// What an operation chooses by. defines: UseConfig, visit_use, RecordedUse, recorded_bound, largest
#pragma once
#include <string>
#include <vector>

#include "launch/surgery/expert_rows.h"
#include "launch/use/expert_use.h"

namespace launch {

/// Keys of an operation that may read a recorded use.
struct UseConfig {
  std::string use;
  std::string groups;
};

template <class Visitor>
void visit_use(UseConfig& config, Visitor& field) {
  field("use", config.use, parallel::anything(),
        "file of `moetrain evaluate IN --record FILE`, where that is chosen by");
  field("groups", config.groups, parallel::anything(),
        "whose text counts, of the recorded use's groups, such as \"en,de\"; empty: all");
}

/// The use that such keys name, of a parent.
class RecordedUse {
 public:
  /// UserError: no file named, whatever read_use refuses, another model's, a group that is none.
  RecordedUse(const UseConfig& config, const Parent& parent);

  /// Of one part of one block, one of its sums [G, ...] over the chosen groups, [...] in float64.
  at::Tensor sum(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of) const;
  /// Likewise, the hidden units of one expert.
  std::vector<double> units(const ExpertBlock& block, LayerPart part, at::Tensor LayerUse::*of, int64_t expert) const;

 private:
  const LayerUse& layer(const ExpertBlock& block, LayerPart part) const;

  std::string path_;
  ExpertUse use_;
  std::vector<int64_t> groups_;
};

/// How far sums that a recording gave may differ from those of another layout, as a share of themselves.
double recorded_bound(const Recipe& recipe);

/// The `count` that are worth most, ascending; of those that differ by no more than `bound`, a share of themselves, the
/// first.
std::vector<int64_t> largest(const std::vector<double>& worth, int64_t count, double bound);

}  // namespace launch
