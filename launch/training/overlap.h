// Which plan a run follows, and where it is kept.
// defines: Overlap, overlap_on
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "launch/profiles/profile.h"
#include "launch/ranks/groups.h"
#include "launch/recipe/overlap_config.h"
#include "launch/recipe/precision.h"
#include "launch/recipe/run_config.h"
#include "launch/runs/run_folder.h"
#include "parallel/schedule/simulate.h"

namespace launch {

/// The recipe's, with a carve_out that every rank's device can spare: half of its multiprocessors at most. Collective.
OverlapConfig overlap_on(OverlapConfig config, at::Device device, parallel::Communicator& control);

/// The plan of a run: chosen by the recipe, by a stored profile of the same machine and layout, or by a new one; kept
/// as plan.json, and what it was made from as profile.json, in the run folder, where a resumed run finds them.
class Overlap {
 public:
  Overlap(OverlapConfig config, RunFolder folder, Groups groups, std::string machine);

  /// Whether a profile has to be measured: the schedule is made from one, and none is stored. Collective: rank 0 looks.
  /// A profile of another machine or layout counts as none; `said` is told so.
  bool wants_profile(const std::function<void(const std::string&)>& said);
  /// What it was made from; nullopt where no profile was needed.
  const std::optional<Profile>& profile() const { return profile_; }

  /// Makes and stores the plan of a profile, and follows it. Collective.
  void use(const Profile& profile);
  /// Follows the plan that needs none, or the stored one. Collective. UserError where a stored or named plan does not
  /// fit.
  void use_stored();

  const std::string& machine() const { return machine_; }
  /// The profile, where there is one, and the plan.
  std::string describe() const;
  /// The followed plan's step, simulated; nullopt without a profile.
  std::optional<parallel::Timeline> predicted() const;

 private:
  bool made_from_profile() const;
  parallel::Plan plan_from_profile() const;
  void follow(parallel::Plan plan) const;

  OverlapConfig config_;
  RunFolder folder_;
  Groups groups_;
  std::string machine_;
  std::optional<Profile> profile_;
  std::optional<parallel::Plan> stored_;
};

/// What a profile holds for: the processor's name, ranks, mesh, threads, device and precision.
std::string describe_machine(parallel::Enum<Device> device, parallel::Enum<Precision> precision, int64_t threads,
                             const parallel::Mesh& mesh);

}  // namespace launch
