// dispatch -> experts -> combine as the one differentiable unit of an MoE layer.
// defines: expert_pipeline, expert_map, expert_reduce
#pragma once
#include <memory>
#include <vector>

#include "parallel/dispatch/expert_compute.h"
#include "parallel/dispatch/expert_exchange.h"

namespace parallel {

/// out[t] = sum over j of weight[t, j] * expert(tokens[t], expert[t, j]).
/// Differentiable in tokens_TD, assignment.weight_TK and `weights`; the expert numbers are constants.
/// `weights`: of this rank's experts in `group`. Forward and backward are collective over Mesh::experts(): every rank's
/// loss must depend on its output (if only with a factor 0).
///
/// Follows Mesh::schedule(): forward and backward each cut the rows into their own number of chunks; while one is
/// computed the next ones are on their way, and in backward the planned slices of other gradients after the last.
/// Results do not depend on the chunks but for rounding, the weights' gradients not even for that.
///
/// Where every expert is on this rank's processor, and its kind can (GatheringCompute), no row is copied for all: rows
/// are gathered some at a time, in one piece whatever the schedule says, and neither they nor their outputs are kept.
///
/// The rows of a pass after the first (ExpertExchange) are not kept on the rank that computes them: backward sends them
/// and computes them again, so that what a rank holds for them is bounded whatever the routing.
at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                           const ExpertGroup& group);

/// The two halves of a layer whose experts do something between them that needs other tokens: out[t, j] =
/// expert(tokens[t], expert[t, j]), [T, D] -> [T, K, A], zeros of a dropped choice; weights of choices mean nothing to
/// it. And out[t] = sum over j of weight[t, j] * expert(choices[t, j], expert[t, j]), [T, K, A] -> [T, D]. All else is
/// as of expert_pipeline; rows of one width go in, of another come out.
at::Tensor expert_map(const at::Tensor& tokens_TD, const Assignment& assignment,
                      std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                      const ExpertGroup& group);
at::Tensor expert_reduce(const at::Tensor& choices_TKA, const Assignment& assignment,
                         std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                         const ExpertGroup& group);

}  // namespace parallel
