// defines: Choice, kChoices, foldings, PipelineRun: ways of routing and of laying out, and the pipeline run on them
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/parallel/dispatch/toy_compute.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace parallel {

inline constexpr int64_t kAllExperts = 12, kModelWidth = 3, kHiddenUnits = 12;

/// How the tokens of one test choose; a value that every rank knows.
struct Choice {
  const char* name;
  int64_t (*expert)(int64_t token, int64_t choice);
  int64_t (*tokens)(int64_t rank);
};

inline const Choice kChoices[] = {
    {"spread", [](int64_t t, int64_t j) { return (5 * t + 7 * j) % kAllExperts; }, [](int64_t r) { return 4 + 3 * r; }},
    {"all on one expert", [](int64_t, int64_t) { return int64_t{7}; }, [](int64_t r) { return 5 + r; }},
    {"ranks and experts without tokens", [](int64_t t, int64_t j) { return (t + 2 * j) % 3; },
     [](int64_t r) { return r % 2 == 0 ? int64_t{6} : int64_t{0}; }},
    {"drops", [](int64_t t, int64_t j) { return (t + j) % 4 == 0 ? Assignment::kDropped : (t + j) % kAllExperts; },
     [](int64_t r) { return 7 - r; }},
    {"no tokens at all", [](int64_t, int64_t) { return int64_t{0}; }, [](int64_t) { return int64_t{0}; }},
};

/// Every way to fold `ranks`, with even and uneven maps.
inline std::vector<MeshConfig> foldings(int64_t ranks) {
  std::vector<MeshConfig> all;
  for (int64_t expert = 1; expert <= ranks; ++expert) {
    for (int64_t expert_tensor = 1; expert * expert_tensor <= ranks; ++expert_tensor) {
      if (ranks % (expert * expert_tensor) != 0 || kHiddenUnits % expert_tensor != 0) continue;
      for (const double bound : {1.0, 4.0}) {
        all.push_back({.expert = expert, .expert_tensor = expert_tensor, .receive_bound = bound});
        all.back().experts_by_rank = std::vector<int64_t>(static_cast<size_t>(expert), 0);
        all.back().experts_by_rank.back() = 5;  // and nobody else holds any but the first
        all.back().experts_by_rank.front() += kAllExperts - 5;
        if (kAllExperts % expert == 0) {
          all.push_back({.expert = expert, .expert_tensor = expert_tensor, .receive_bound = bound});
        }
      }
    }
  }
  return all;
}

struct PipelineResult {
  at::Tensor out_TD;
  std::vector<at::Tensor> gradients;  // of tokens, gates, weights
};

class PipelineRun : public testing::Test {
 protected:
  /// The pipeline over this rank's tokens with `weights` of the experts in `group`.
  PipelineResult run(const Choice& choice, const ExpertGroup& group, const std::vector<at::Tensor>& weights,
                     std::shared_ptr<const ExpertCompute> compute = std::make_shared<ToyCompute>()) const {
    const int64_t rank = world_->rank(), tokens = choice.tokens(rank);
    at::Tensor expert_TK = at::empty({tokens, 2}, at::kLong);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < 2; ++j) expert_TK[t][j] = choice.expert(10 * rank + t, j);
    }
    const std::string place = std::to_string(rank);
    std::vector<at::Tensor> leaves{random_tensor("tokens" + place, {tokens, kModelWidth}),
                                   random_tensor("gates" + place, {tokens, 2})};
    for (const at::Tensor& weight : weights) leaves.push_back(weight.detach().clone());
    for (at::Tensor& leaf : leaves) leaf.requires_grad_(true);
    const at::Tensor out_TD = expert_pipeline(leaves[0], {expert_TK, leaves[1], kAllExperts}, std::move(compute),
                                              {leaves[2], leaves[3]}, group);
    torch::autograd::backward({(out_TD * random_tensor("probe" + place, out_TD.sizes())).sum()}, {});
    PipelineResult result{out_TD.detach(), {}};
    for (const at::Tensor& leaf : leaves) result.gradients.push_back(leaf.grad());
    return result;
  }

  /// Those of the experts that this rank holds, and of their hidden units.
  std::vector<at::Tensor> own_weights(const ExpertGroup& group) const {
    const MeshPlace& place = group.mesh->place();
    const int64_t first = group.map.first(place.expert), count = group.map.count(place.expert);
    const int64_t hidden = kHiddenUnits / group.mesh->shape().expert_tensor, from = place.expert_tensor * hidden;
    return {weights_[0].narrow(0, first, count).narrow(2, from, hidden).contiguous(),
            weights_[1].narrow(0, first, count).narrow(1, from, hidden).contiguous()};
  }

  std::shared_ptr<Communicator> world_ = test_world();
  const std::vector<at::Tensor> weights_{random_tensor("in", {kAllExperts, kModelWidth, kHiddenUnits}),
                                         random_tensor("out", {kAllExperts, kHiddenUnits, kModelWidth})};
};

}  // namespace parallel
