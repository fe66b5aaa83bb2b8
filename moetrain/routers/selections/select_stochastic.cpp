#include <ATen/ATen.h>

#include <numeric>
#include <utility>
#include <vector>

#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/device/accelerator.h"

namespace moetrain {
namespace {

/// Fisher-Yates: exact for any size, where a few bits' Feistel network would not be uniform.
std::vector<int64_t> drawn_permutation(const parallel::RandomStream& stream, int64_t size) {
  std::vector<int64_t> image(static_cast<size_t>(size));
  std::iota(image.begin(), image.end(), 0);
  for (int64_t i = size - 1; i > 0; --i) {
    std::swap(image[static_cast<size_t>(i)], image[static_cast<size_t>(stream.below(i, i + 1))]);
  }
  return image;
}

/// The expert of one token after another.
class ExpertDraw {
 public:
  ExpertDraw(ThorGranularity granularity, int64_t experts, const RoutingContext& context)
      : granularity_(granularity),
        experts_(experts),
        sequence_T_(context.scope.sequence_T),
        stream_(context.scope.draws.stream("stochastic experts", context.layer)) {
    const bool by_sequence = granularity == ThorGranularity::kSentence || granularity == ThorGranularity::kSlices;
    parallel::check_internal(!by_sequence || sequence_T_.defined(), parallel::Enum(granularity),
                             ": the tokens form no sequences");
    if (granularity == ThorGranularity::kSlices) expert_of_slice_ = drawn_permutation(stream_, experts);
  }
  /// Of this rank's token t, which is number `global_token` of the micro-batch.
  int64_t of(int64_t t, int64_t global_token) const {
    if (granularity_ == ThorGranularity::kBatchLayer) return stream_.below(0, experts_);
    if (granularity_ == ThorGranularity::kToken) return stream_.below(global_token, experts_);
    const int64_t sequence = sequence_T_.const_data_ptr<int64_t>()[t];
    if (granularity_ == ThorGranularity::kSentence) return stream_.below(sequence, experts_);
    return expert_of_slice_[static_cast<size_t>(sequence % experts_)];
  }

 private:
  ThorGranularity granularity_;
  int64_t experts_;
  at::Tensor sequence_T_;  // global number of each token's sequence
  parallel::RandomStream stream_;
  std::vector<int64_t> expert_of_slice_;
};

}  // namespace

at::Tensor select_stochastic(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context) {
  const int64_t tokens = candidates.logits_TE.size(0), experts = candidates.logits_TE.size(1);
  const at::Device device = candidates.logits_TE.device();
  const BatchScope& scope = context.scope;
  const ThorConfig& own = config.own<ThorConfig>();
  if (!scope.training && own.inference == ThorInference::kEnsemble) {
    return at::arange(experts, at::TensorOptions(at::kLong).device(device)).expand({tokens, experts}).contiguous();
  }
  const bool by_token = own.inference == ThorInference::kToken;
  const ThorGranularity inference = by_token ? ThorGranularity::kToken : ThorGranularity::kSentence;
  const ExpertDraw draw(scope.training ? ThorGranularity(own.granularity) : inference, experts, context);
  at::Tensor chosen_T1 = at::empty({tokens, 1}, at::kLong);
  for (int64_t t = 0; t < tokens; ++t) chosen_T1.mutable_data_ptr<int64_t>()[t] = draw.of(t, scope.first_token + t);
  return parallel::send(chosen_T1, device);
}

}  // namespace moetrain
