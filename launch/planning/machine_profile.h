// A machine's lines from a profile that was measured on it, so that `plan` answers for other recipes on it.
// defines: machine_of
#pragma once
#include <string>

#include "launch/planning/host_axes.h"
#include "launch/profiles/machine_file.h"
#include "launch/profiles/profile.h"
#include "launch/recipe/recipe.h"

namespace launch {

/// Where and of what a profile was measured.
struct ProfiledJob {
  const Recipe& recipe;
  int64_t vocabulary = 0;
  Cluster cluster;
  double memory_gib = 0;  // of a rank
  std::string name;       // what the machine is to be called
};

/// multiply: the mean of the experts' three multiplications. Links: those that the recipe's layout used, inside a host
/// or between. sweep: what makes the dense parts of the recipe's plan take as long as they were measured to, all that
/// is not a multiplication in them included.
/// UserError where the layout has exchanges in its dense parts (mesh.tensor, mesh.zero), or no experts were measured.
Machine machine_of(const Profile& profile, const ProfiledJob& job);

}  // namespace launch
