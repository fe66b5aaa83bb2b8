#include "parallel/mesh/mesh_shape.h"

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// The divisors of `ranks` nearest to `value`, as words: "2 or 4".
std::string nearest_divisors(int64_t ranks, int64_t value) {
  int64_t below = 1, above = ranks;
  for (int64_t d = 1; d <= ranks; ++d) {
    if (ranks % d != 0) continue;
    if (d <= value) below = d;
    if (d >= value) {
      above = d;
      break;
    }
  }
  return below == above ? std::to_string(below) : concat(below, " or ", above);
}

}  // namespace

MeshPlace MeshShape::place(int64_t rank) const {
  const int64_t block = expert * expert_tensor;
  return {.data = rank / tensor,
          .tensor = rank % tensor,
          .expert_data = rank / block,
          .expert = rank % block / expert_tensor,
          .expert_tensor = rank % expert_tensor};
}

std::string MeshShape::describe() const {
  return concat(ranks(), ranks() == 1 ? " rank" : " ranks", ": data ", data, " x tensor ", tensor,
                "; experts: expert_data ", expert_data, " x expert ", expert, " x expert_tensor ", expert_tensor);
}

MeshShape mesh_shape(const MeshConfig& config, int64_t ranks) {
  if (ranks % config.tensor != 0) {
    user_error("mesh.tensor = ", config.tensor, " does not divide the ", ranks,
               " ranks of this job; legal: ", nearest_divisors(ranks, config.tensor), ", or another number of ranks");
  }
  if (ranks % config.expert_tensor != 0) {
    user_error("mesh.expert_tensor = ", config.expert_tensor, " does not divide the ", ranks, " ranks of this job; ",
               "legal: ", nearest_divisors(ranks, config.expert_tensor), ", or another number of ranks");
  }
  const int64_t rest = ranks / config.expert_tensor;
  if (rest % config.expert != 0) {
    const std::string left = config.expert_tensor > 1
                                 ? concat(" that mesh.expert_tensor = ", config.expert_tensor, " leaves of ", ranks)
                                 : std::string(" of this job");
    user_error("mesh.expert = ", config.expert, " does not divide the ", rest, " ranks", left,
               "; legal: ", nearest_divisors(rest, config.expert), ", or another number of ranks");
  }
  if (config.dispatch == Dispatch::kHierarchical && config.expert == 1) {
    user_error(
        "mesh.dispatch = \"hierarchical\" sends a token once to each host of the expert axis, but mesh.expert = 1 ",
        "keeps every row on its rank; legal: mesh.dispatch = \"flat\", or mesh.expert of at least 2");
  }
  return {.data = ranks / config.tensor,
          .tensor = config.tensor,
          .expert_data = rest / config.expert,
          .expert = config.expert,
          .expert_tensor = config.expert_tensor};
}

}  // namespace parallel
