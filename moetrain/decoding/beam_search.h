// defines: beam_search, BeamOptions: translations of a batch of sentences
#pragma once
#include <vector>

#include "moetrain/models/encoder_decoder.h"

namespace moetrain {

struct BeamOptions {
  int64_t beam = 5;
  double length_penalty = 1.0;  // a finished hypothesis' score is log p / length^length_penalty, its end counted
  double longest_ratio = 1.5;   // a hypothesis ends at longest_ratio * source tokens + longest_extra
  int64_t longest_extra = 10;
  int64_t end_token = 0;
  int64_t start_token = -1;  // what the target starts from; -1: end_token
};

/// The best hypothesis of each source sentence, without its end. A sentence is done when `beam` hypotheses have ended
/// with an end among the `beam` best of their place. Of equal candidates (moetrain/ranking) the better beam's comes
/// first, then the smaller token; of equal hypotheses the one that ended first. Encoder and decoder run over the pass's
/// group, which must be one that holds no other rank: sentences end at their own time. A stochastic router draws again
/// at each place (as THOR's code does). UserError where logits are not finite.
std::vector<std::vector<int64_t>> beam_search(EncoderDecoder& model, const TokenSide& source,
                                              const BeamOptions& options, const PassScope& pass);

}  // namespace moetrain
