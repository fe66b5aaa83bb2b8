// defines: UseRecorder: counts who uses which expert while a model is evaluated
#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "launch/use/expert_use.h"
#include "moetrain/models/model.h"
#include "moetrain/moe/layer_observer.h"

namespace launch {

/// Adds up, on each rank, what its rows do (PassScope::observer), batch after batch.
class UseRecorder : public moetrain::LayerObserver {
 public:
  /// Of the rows of one side: the group of each of this rank's, int64, -1 where it does not count.
  using GroupsOf = std::function<at::Tensor(moetrain::Rows rows, moetrain::Side side)>;

  /// `stacks`: whose blocks the layers are.
  UseRecorder(std::vector<std::string> groups, const std::vector<moetrain::StackShape>& stacks);

  /// The passes from here on are of such rows.
  void of_batch(GroupsOf groups_of) { groups_of_ = std::move(groups_of); }
  void see(const moetrain::ObservedFeedForward& layer) override;
  void see(const moetrain::ObservedExperts& layer) override;

  /// The sums of all ranks; of which model is for the caller to say. Collective: every rank has seen the same layers.
  ExpertUse sums(parallel::Communicator& control) const;

 private:
  /// A layer and its sums so far, made of zeros when it is first seen.
  LayerUse& layer_of(int64_t block, LayerPart part, const std::function<LayerUse()>& zeros);
  at::Tensor groups_of(int64_t block, moetrain::Rows rows) const;

  std::vector<std::string> groups_;
  std::map<int64_t, moetrain::Side> side_of_block_;
  std::map<std::pair<int64_t, LayerPart>, LayerUse> layers_;
  GroupsOf groups_of_;
};

}  // namespace launch
