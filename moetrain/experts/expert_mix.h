// defines: ExpertMix, EachPlace: how kinds of experts are put together
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

/// A layer whose experts are of several kinds or widths. Its weights are those of its parts, one after another, each
/// [experts of that part on this rank, dims...], of which there may be none. What a part keeps, it keeps for its own
/// rows, in tensors that have a place for every row; parts of one kind in the same ones, each in as many columns as it
/// is wide, so that the rows of what it is given may be further apart than they are long.
class ExpertMix : public parallel::ExpertCompute, public parallel::GatheringCompute {
 public:
  using Weights = parallel::ExpertCompute::Weights;

  struct Part {
    std::shared_ptr<const ExpertCompute> compute;
    size_t weights = 0;  // how many
    std::string kind =
        {};  // parts of one kind keep as many tensors; empty: of a kind that wants its rows close together
  };
  /// out_width: of an output; 0: as wide as its row.
  explicit ExpertMix(std::vector<Part> parts, int64_t out_width = 0)
      : parts_(std::move(parts)), out_width_(out_width) {}

  std::vector<int64_t> saved_widths(int64_t row_width, const Weights& weights) const override {
    return places_of(&ExpertCompute::saved_widths, row_width, weights).widths;
  }
  std::vector<int64_t> kept_widths(int64_t row_width, const Weights& weights) const override {
    return places_of(&ExpertCompute::kept_widths, row_width, weights).widths;
  }
  Weights of_experts(const Weights& weights, int64_t first, int64_t count) const override;
  bool writes_summed_gradients() const override;
  int64_t hidden_units(const Weights& weights) const override;  // of the widest part; zeros behind a narrower one's
  at::Tensor hidden(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights) const override;
  at::Tensor forward(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights,
                     const parallel::RowTensors& saved) const override;
  at::Tensor backward_rows(const at::Tensor& rows_RX, const parallel::RowTensors& saved, const at::Tensor& grad_RX,
                           const Counts& counts, const Weights& weights,
                           const parallel::RowTensors& kept) const override;
  void backward_weights(const at::Tensor& rows_RX, const parallel::RowTensors& saved, const at::Tensor& grad_RX,
                        const parallel::RowTensors& kept, const Counts& counts, const Weights& weights,
                        const Weights& gradients) const override;

  /// Where all of its parts gather.
  const parallel::GatheringCompute* gathering() const override;
  std::vector<int64_t> gathered_widths(const Weights& weights) const override {
    return places_of(&widths_when_gathered, 0, weights).widths;
  }
  at::Tensor forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                              const parallel::RowTensors& saved) const override;
  at::Tensor backward_gathered(const parallel::TokenRows& rows, const parallel::RowTensors& saved,
                               const parallel::WeightedGradients& above, const Weights& weights,
                               const Weights& gradients) const override;

 private:
  /// Of what one part keeps.
  using Widths = std::function<std::vector<int64_t>(const ExpertCompute& part, int64_t row_width, const Weights&)>;
  static std::vector<int64_t> widths_when_gathered(const ExpertCompute& part, int64_t row_width,
                                                   const Weights& weights);
  /// What is kept for all rows, and where among it each part has its own.
  struct Places {
    std::vector<int64_t> widths;
    struct OfPart {
      size_t first = 0;
      std::vector<int64_t> widths;
    };
    std::vector<OfPart> parts;
  };
  Places places_of(const Widths& widths, int64_t row_width, const Weights& weights) const;
  template <class Visit>
  void for_each_part(const Counts& counts, int64_t row_width, const Weights& weights, const Visit& visit,
                     const Widths& saved_widths = &ExpertCompute::saved_widths) const;

  std::vector<Part> parts_;
  int64_t out_width_;
};

/// A kind that sees rows of `width` numbers, where rows are whole sequences (SequenceRows): each place is such a row.
/// The places behind a sequence's end are computed too: their gradients are zeros.
class EachPlace : public parallel::ExpertCompute {
 public:
  EachPlace(std::shared_ptr<const ExpertCompute> compute, int64_t width)
      : compute_(std::move(compute)), width_(width) {}

  std::vector<int64_t> saved_widths(int64_t row_width, const Weights& weights) const override {
    return widths_of(&ExpertCompute::saved_widths, row_width, weights);
  }
  std::vector<int64_t> kept_widths(int64_t row_width, const Weights& weights) const override {
    return widths_of(&ExpertCompute::kept_widths, row_width, weights);
  }
  Weights of_experts(const Weights& weights, int64_t first, int64_t count) const override {
    return compute_->of_experts(weights, first, count);
  }
  bool writes_summed_gradients() const override { return compute_->writes_summed_gradients(); }
  at::Tensor forward(const at::Tensor& rows_RX, const Counts& counts, const Weights& weights,
                     const parallel::RowTensors& saved) const override;
  at::Tensor backward_rows(const at::Tensor& rows_RX, const parallel::RowTensors& saved, const at::Tensor& grad_RX,
                           const Counts& counts, const Weights& weights,
                           const parallel::RowTensors& kept) const override;
  void backward_weights(const at::Tensor& rows_RX, const parallel::RowTensors& saved, const at::Tensor& grad_RX,
                        const parallel::RowTensors& kept, const Counts& counts, const Weights& weights,
                        const Weights& gradients) const override;

 private:
  using Widths = std::vector<int64_t> (ExpertCompute::*)(int64_t, const Weights&) const;
  std::vector<int64_t> widths_of(Widths widths, int64_t row_width, const Weights& weights) const;
  int64_t places(int64_t row_width) const { return row_width / (width_ + 1); }
  at::Tensor each(const at::Tensor& rows_RX) const;  // [R, L (D + 1)] -> [R L, D]
  at::Tensor together(const at::Tensor& place_ND, int64_t row_width) const;
  parallel::RowTensors of_places(const parallel::RowTensors& tensors, int64_t row_width) const;

  std::shared_ptr<const ExpertCompute> compute_;
  int64_t width_;
};

}  // namespace moetrain
