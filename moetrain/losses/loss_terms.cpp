#include "moetrain/losses/loss_terms.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/base/fault.h"

namespace moetrain {

void LossTerms::add(std::string name, at::Tensor share) {
  for (LossTerm& term : terms_) {
    if (term.name == name) {
      term.share = term.share + share;
      return;
    }
  }
  terms_.push_back({std::move(name), std::move(share)});
}

void LossTerms::add_all(const LossTerms& other) {
  for (const LossTerm& term : other.terms_) add(term.name, term.share);
}

at::Tensor LossTerms::sum() const {
  parallel::check_internal(!terms_.empty(), "LossTerms: nothing to sum");
  at::Tensor total = terms_.front().share;
  for (size_t i = 1; i < terms_.size(); ++i) total = total + terms_[i].share;
  return total;
}

LossTerms LossTerms::detached() const {
  LossTerms copy;
  for (const LossTerm& term : terms_) copy.terms_.push_back({term.name, term.share.detach()});
  return copy;
}

}  // namespace moetrain
