#include "moetrain/experts/expert_mix.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace moetrain {
namespace {

using parallel::RowTensors;
using Counts = parallel::ExpertCompute::Counts;
using Weights = parallel::ExpertCompute::Weights;

Weights some(const Weights& weights, size_t first, size_t count) {
  const auto begin = weights.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

/// What one part sees of its rows in what was kept for all.
struct PartOfRows {
  int64_t first = 0, count = 0;
  at::Tensor of(const at::Tensor& rows) const { return rows.narrow(0, first, count); }
};

}  // namespace

ExpertMix::Places ExpertMix::places_of(const Widths& widths, int64_t row_width, const Weights& weights) const {
  Places all;
  size_t weight = 0;
  for (const Part& part : parts_) {
    Places::OfPart own{all.widths.size(), widths(*part.compute, row_width, some(weights, weight, part.weights))};
    for (size_t other = 0; other < all.parts.size(); ++other) {
      if (!part.kind.empty() && parts_[other].kind == part.kind) own.first = all.parts[other].first;
    }
    all.widths.resize(std::max(all.widths.size(), own.first + own.widths.size()), 0);
    for (size_t i = 0; i < own.widths.size(); ++i) {
      int64_t& width = all.widths[own.first + i];
      width = std::max(width, own.widths[i]);
    }
    weight += part.weights;
    all.parts.push_back(std::move(own));
  }
  return all;
}

bool ExpertMix::writes_summed_gradients() const {
  return std::ranges::all_of(parts_, [](const Part& part) { return part.compute->writes_summed_gradients(); });
}

Weights ExpertMix::of_experts(const Weights& weights, int64_t first, int64_t count) const {
  Weights all;
  size_t weight = 0;
  int64_t before = 0;  // experts of the parts before
  for (const Part& part : parts_) {
    const int64_t here = weights[weight].size(0);
    const int64_t begin = std::clamp<int64_t>(first - before, 0, here);
    const int64_t end = std::clamp<int64_t>(first + count - before, 0, here);
    const Weights own = part.compute->of_experts(some(weights, weight, part.weights), begin, end - begin);
    all.insert(all.end(), own.begin(), own.end());
    weight += part.weights;
    before += here;
  }
  return all;
}

/// visit(part, its weights, its rows, its counts, its first weight, cuts of what is saved and kept for all rows) for
/// each part that has experts here.
template <class Visit>
void ExpertMix::for_each_part(const Counts& counts, int64_t row_width, const Weights& weights, const Visit& visit,
                              const Widths& saved_widths) const {
  const Places saved = places_of(saved_widths, row_width, weights);
  const Places kept = places_of(&ExpertCompute::kept_widths, row_width, weights);
  size_t weight = 0;
  auto count = counts.on_host().begin();
  int64_t row = 0;
  for (size_t p = 0; p < parts_.size(); ++p) {
    const Part& part = parts_[p];
    const Weights own = some(weights, weight, part.weights);
    const auto end = count + own.front().size(0);
    const Counts of_part(std::vector<int64_t>(count, end));
    const PartOfRows rows{row, of_part.rows()};
    const auto cut = [&](const RowTensors& all, const Places::OfPart& place) {
      RowTensors of_rows;
      for (size_t i = 0; i < place.widths.size(); ++i) {
        of_rows.push_back(rows.of(all[place.first + i]).narrow(1, 0, place.widths[i]));
      }
      return of_rows;
    };
    if (of_part.experts() > 0) {
      visit(
          part, own, rows, of_part, weight, [&](const RowTensors& all) { return cut(all, saved.parts[p]); },
          [&](const RowTensors& all) { return cut(all, kept.parts[p]); });
    }
    weight += part.weights;
    count = end;
    row += rows.count;
  }
}

int64_t ExpertMix::hidden_units(const Weights& weights) const {
  int64_t most = 0;
  size_t weight = 0;
  for (const Part& part : parts_) {
    most = std::max(most, part.compute->hidden_units(some(weights, weight, part.weights)));
    weight += part.weights;
  }
  return most;
}

at::Tensor ExpertMix::hidden(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights) const {
  at::Tensor all_RF = at::zeros({rows_RX.size(0), hidden_units(weights)}, rows_RX.options());
  for_each_part(counts, rows_RX.size(1), weights,
                [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t,
                    const auto&, const auto&) {
                  const int64_t units = part.compute->hidden_units(own);
                  if (units == 0) return;
                  rows.of(all_RF).narrow(1, 0, units).copy_(part.compute->hidden(rows.of(rows_RX), of_part, own));
                });
  return all_RF;
}

at::Tensor ExpertMix::forward(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights,
                              const RowTensors& saved) const {
  at::Tensor out_RX = at::empty({rows_RX.size(0), out_width_ > 0 ? out_width_ : rows_RX.size(1)}, rows_RX.options());
  for_each_part(counts, rows_RX.size(1), weights,
                [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t,
                    const auto& own_saved, const auto&) {
                  rows.of(out_RX).copy_(part.compute->forward(rows.of(rows_RX), of_part, own, own_saved(saved)));
                });
  return out_RX;
}

at::Tensor ExpertMix::backward_rows(const at::Tensor& rows_RX, const RowTensors& saved, const at::Tensor& grad_RX,
                                    const Counts& counts, const Weights& weights, const RowTensors& kept) const {
  at::Tensor grad_rows_RX = at::empty_like(rows_RX);
  for_each_part(counts, rows_RX.size(1), weights,
                [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t,
                    const auto& own_saved, const auto& own_kept) {
                  rows.of(grad_rows_RX)
                      .copy_(part.compute->backward_rows(rows.of(rows_RX), own_saved(saved), rows.of(grad_RX), of_part,
                                                         own, own_kept(kept)));
                });
  return grad_rows_RX;
}

void ExpertMix::backward_weights(const at::Tensor& rows_RX, const RowTensors& saved, const at::Tensor& grad_RX,
                                 const RowTensors& kept, const Counts& counts, const Weights& weights,
                                 const Weights& gradients) const {
  for_each_part(counts, rows_RX.size(1), weights,
                [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t weight,
                    const auto& own_saved, const auto& own_kept) {
                  part.compute->backward_weights(rows.of(rows_RX), own_saved(saved), rows.of(grad_RX), own_kept(kept),
                                                 of_part, own, some(gradients, weight, part.weights));
                });
}

const parallel::GatheringCompute* ExpertMix::gathering() const {
  const auto gathers = [](const Part& part) { return part.compute->gathering() != nullptr; };
  return std::ranges::all_of(parts_, gathers) ? this : nullptr;
}

std::vector<int64_t> ExpertMix::widths_when_gathered(const ExpertCompute& part, int64_t, const Weights& weights) {
  return part.gathering()->gathered_widths(weights);
}

namespace {

/// Of cuts from the left: the same memory, one row behind the other. Whoever gathers sees all its rows at once, and
/// loops want rows that lie close, as those have that are not kept.
RowTensors close_together(RowTensors cuts) {
  for (at::Tensor& cut : cuts) cut = cut.as_strided(cut.sizes(), {cut.size(1), 1});
  return cuts;
}

}  // namespace

at::Tensor ExpertMix::forward_gathered(const parallel::TokenRows& all, const Weights& weights,
                                       const RowTensors& saved) const {
  const int64_t D = all.tokens_TD.size(1);
  at::Tensor out_RX = at::empty({all.token_R.size(0), out_width_ > 0 ? out_width_ : D}, all.tokens_TD.options());
  for_each_part(
      all.rows_per_expert, D, weights,
      [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t,
          const auto& own_saved, const auto&) {
        rows.of(out_RX).copy_(part.compute->gathering()->forward_gathered(
            {all.tokens_TD, rows.of(all.token_R), of_part}, own,
            saved.empty() ? RowTensors() : close_together(own_saved(saved))));
      },
      widths_when_gathered);
  return out_RX;
}

at::Tensor ExpertMix::backward_gathered(const parallel::TokenRows& all, const RowTensors& saved,
                                        const parallel::WeightedGradients& above, const Weights& weights,
                                        const Weights& gradients) const {
  const int64_t D = all.tokens_TD.size(1);
  at::Tensor grad_rows_RD = at::empty({all.token_R.size(0), D}, all.tokens_TD.options());
  for_each_part(
      all.rows_per_expert, D, weights,
      [&](const Part& part, const Weights& own, const PartOfRows& rows, const Counts& of_part, size_t weight,
          const auto& own_saved, const auto&) {
        rows.of(grad_rows_RD)
            .copy_(part.compute->gathering()->backward_gathered(
                {all.tokens_TD, rows.of(all.token_R), of_part}, close_together(own_saved(saved)),
                {above.sum_TD, rows.of(above.weight_R), rows.of(above.grad_weight_R)}, own,
                gradients.empty() ? Weights() : some(gradients, weight, part.weights)));
      },
      widths_when_gathered);
  return grad_rows_RD;
}

at::Tensor EachPlace::each(const at::Tensor& rows_RX) const {
  return rows_RX.reshape({rows_RX.size(0) * places(rows_RX.size(1)), width_ + 1}).narrow(1, 0, width_).contiguous();
}

at::Tensor EachPlace::together(const at::Tensor& place_ND, int64_t row_width) const {
  return at::constant_pad_nd(place_ND, {0, 1}).view({place_ND.size(0) / places(row_width), row_width});
}

RowTensors EachPlace::of_places(const RowTensors& tensors, int64_t row_width) const {
  RowTensors all;
  for (const at::Tensor& each : tensors) {
    all.push_back(each.view({each.size(0) * places(row_width), each.size(1) / places(row_width)}));
  }
  return all;
}

std::vector<int64_t> EachPlace::widths_of(Widths widths, int64_t row_width, const Weights& weights) const {
  std::vector<int64_t> all = (*compute_.*widths)(width_, weights);
  for (int64_t& width : all) width *= places(row_width);
  return all;
}

at::Tensor EachPlace::forward(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights,
                              const RowTensors& saved) const {
  const int64_t X = rows_RX.size(1);
  return together(compute_->forward(each(rows_RX), counts.times(places(X)), weights, of_places(saved, X)), X);
}

at::Tensor EachPlace::backward_rows(const at::Tensor& rows_RX, const RowTensors& saved, const at::Tensor& grad_RX,
                                    const Counts& counts, const Weights& weights, const RowTensors& kept) const {
  const int64_t X = rows_RX.size(1);
  return together(compute_->backward_rows(each(rows_RX), of_places(saved, X), each(grad_RX), counts.times(places(X)),
                                          weights, of_places(kept, X)),
                  X);
}

void EachPlace::backward_weights(const at::Tensor& rows_RX, const RowTensors& saved, const at::Tensor& grad_RX,
                                 const RowTensors& kept, const Counts& counts, const Weights& weights,
                                 const Weights& gradients) const {
  const int64_t X = rows_RX.size(1);
  compute_->backward_weights(each(rows_RX), of_places(saved, X), each(grad_RX), of_places(kept, X),
                             counts.times(places(X)), weights, gradients);
}

}  // namespace moetrain
