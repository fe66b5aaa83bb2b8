#include "moetrain/decoding/beam_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// One that may still grow. Its tokens so far are a chain through the earlier places.
struct Beam {
  std::vector<int64_t> tokens;
  double log_p = 0;
};

using Finished = std::pair<double, std::vector<int64_t>>;  // score and tokens

struct Sentence {
  int64_t number = 0;   // in the batch
  int64_t longest = 0;  // tokens of a hypothesis, its end not counted
  std::vector<Beam> beams;
  std::vector<Finished> finished;
};

/// What the model says of the next token of one row: the 2 * beam most likely ones.
struct Proposals {
  at::Tensor log_p_RM;  // float64, CPU
  at::Tensor token_RM;  // int64, CPU
  at::Tensor end_R;     // float64, CPU: of the end
};

class BeamSearch {
 public:
  BeamSearch(EncoderDecoder& model, const TokenSide& source, const BeamOptions& options, const PassScope& pass)
      : model_(model), source_(source), options_(options), pass_(pass), memory_(model.encode(source, pass)) {
    for (int64_t s = 0; s < source.sequences.count(); ++s) {
      const auto length = static_cast<double>(source.sequences.lengths()[static_cast<size_t>(s)]);
      const auto longest = static_cast<int64_t>(options.longest_ratio * length) + options.longest_extra;
      open_.push_back({.number = s, .longest = longest, .beams = {Beam{}}});
    }
    results_.resize(open_.size());
  }

  std::vector<std::vector<int64_t>> run() {
    for (int64_t place = 0; !open_.empty(); ++place) {
      const Proposals proposals = propose(place);
      int64_t row = 0;
      for (Sentence& sentence : open_) {
        const auto rows = static_cast<int64_t>(sentence.beams.size());
        advance(sentence, proposals, row, place);
        row += rows;
      }
      close_done();
      keep_rows();
    }
    return std::move(results_);
  }

 private:
  /// One row for each beam of each open sentence, in order.
  Proposals propose(int64_t place) {
    std::vector<int64_t> last, numbers;
    const int64_t start = options_.start_token >= 0 ? options_.start_token : options_.end_token;
    for (const Sentence& sentence : open_) {
      for (const Beam& beam : sentence.beams) {
        last.push_back(beam.tokens.empty() ? start : beam.tokens.back());
        numbers.push_back(sentence.number + source_.first_sequence);
      }
    }
    const auto rows = static_cast<int64_t>(last.size());
    TokenSide tokens = TokenSide::whole(at::tensor(last, at::kLong).to(source_.ids_T.device()).view({rows, 1}));
    tokens.sequence_number_S = at::tensor(numbers, at::kLong);
    if (source_.task_S.defined()) {
      tokens.task_S = source_.task_S.index_select(0, tokens.sequence_number_S - source_.first_sequence);
    }
    PassScope pass = pass_;
    pass.draws.step = place;
    const at::Tensor hidden_RD = model_.decode(tokens, pass, memory_, caches_);
    const at::Tensor logits_RV = model_.head().logits(hidden_RD);
    computed_in_ = logits_RV.scalar_type();
    const at::Tensor log_p_RV = at::log_softmax(logits_RV, 1, computed_in_ == at::kDouble ? at::kDouble : at::kFloat);
    if (!at::isfinite(log_p_RV).all().item<bool>()) {
      parallel::user_error("the model's logits at place ", place, " of a translation are not all finite: the run ",
                           "diverged; legal: a run with a smaller optimizer.learning_rate");
    }
    const int64_t most = std::min<int64_t>(2 * options_.beam, log_p_RV.size(1));
    const at::Tensor token_RM = largest_k(by_difference(log_p_RV, computed_in_), most);
    const at::Tensor best_RM = log_p_RV.gather(1, token_RM);
    return {best_RM.to(at::kCPU, at::kDouble).contiguous(), token_RM.to(at::kCPU).contiguous(),
            log_p_RV.select(1, options_.end_token).to(at::kCPU, at::kDouble).contiguous()};
  }

  void advance(Sentence& sentence, const Proposals& proposals, int64_t first_row, int64_t place) {
    std::vector<Candidate> candidates;
    const auto log_p = proposals.log_p_RM.accessor<double, 2>();
    const auto token = proposals.token_RM.accessor<int64_t, 2>();
    const bool at_end = place == sentence.longest;
    for (int64_t b = 0; b < static_cast<int64_t>(sentence.beams.size()); ++b) {
      const double so_far = sentence.beams[static_cast<size_t>(b)].log_p;
      if (at_end) {
        const double end = proposals.end_R.const_data_ptr<double>()[first_row + b];
        candidates.push_back({so_far + end, b, options_.end_token});
        continue;
      }
      for (int64_t m = 0; m < log_p.size(1); ++m) {
        candidates.push_back({so_far + log_p[first_row + b][m], b, token[first_row + b][m]});
      }
    }
    std::ranges::sort(candidates, {}, [](const Candidate& each) { return std::pair(each.beam, each.token); });
    std::vector<Candidate> ranked;
    for (const size_t i : ranking(candidates, &Candidate::log_p)) ranked.push_back(candidates[i]);
    take(sentence, ranked, first_row);
  }

  struct Candidate {
    double log_p;
    int64_t beam, token;
  };

  /// The places of `all`, the best first, of equally good ones the earlier.
  template <class Each, class Score>
  std::vector<size_t> ranking(const std::vector<Each>& all, Score score) const {
    at::Tensor score_1N = at::empty({1, static_cast<int64_t>(all.size())}, at::kDouble);
    std::ranges::transform(all, score_1N.mutable_data_ptr<double>(), std::identity(), score);
    const at::Tensor place_1N = largest_k(by_difference(score_1N, computed_in_), score_1N.size(1));
    return {place_1N.const_data_ptr<int64_t>(), place_1N.const_data_ptr<int64_t>() + score_1N.size(1)};
  }

  /// An end counts where it is among the `beam` best; the `beam` best others grow on.
  void take(Sentence& sentence, const std::vector<Candidate>& candidates, int64_t first_row) {
    std::vector<Beam> grown;
    for (size_t i = 0; i < candidates.size() && static_cast<int64_t>(grown.size()) < options_.beam; ++i) {
      const Candidate& candidate = candidates[i];
      const std::vector<int64_t>& before = sentence.beams[static_cast<size_t>(candidate.beam)].tokens;
      if (candidate.token != options_.end_token) {
        grown.push_back({before, candidate.log_p});
        grown.back().tokens.push_back(candidate.token);
        rows_.push_back(first_row + candidate.beam);
      } else if (static_cast<int64_t>(i) < options_.beam) {
        const double length = static_cast<double>(before.size()) + 1;
        sentence.finished.emplace_back(candidate.log_p / std::pow(length, options_.length_penalty), before);
      }
    }
    sentence.beams = std::move(grown);
    rows_of_.push_back(static_cast<int64_t>(sentence.beams.size()));
  }

  void close_done() {
    std::vector<Sentence> open;
    std::vector<int64_t> kept;
    size_t row = 0;
    for (size_t s = 0; s < open_.size(); ++s) {
      const auto rows = static_cast<size_t>(rows_of_[s]);
      Sentence& sentence = open_[s];
      const bool done = sentence.beams.empty() || static_cast<int64_t>(sentence.finished.size()) >= options_.beam;
      if (done) {
        const size_t best = ranking(sentence.finished, &Finished::first).front();
        results_[static_cast<size_t>(sentence.number)] = sentence.finished[best].second;
      } else {
        kept.insert(kept.end(), rows_.begin() + static_cast<int64_t>(row),
                    rows_.begin() + static_cast<int64_t>(row + rows));
        open.push_back(std::move(sentence));
      }
      row += rows;
    }
    open_ = std::move(open);
    rows_ = std::move(kept);
    rows_of_.clear();
  }

  /// The caches' rows become those of the beams that grew on.
  void keep_rows() {
    const at::Tensor row_R = at::tensor(rows_, at::kLong).to(source_.ids_T.device());
    rows_.clear();
    for (BlockCache& cache : caches_) cache.keep(row_R);
  }

  EncoderDecoder& model_;
  const TokenSide& source_;
  const BeamOptions& options_;
  PassScope pass_;
  Memory memory_;
  std::vector<BlockCache> caches_;
  std::vector<Sentence> open_;
  at::ScalarType computed_in_ = at::kFloat;  // of the logits
  std::vector<int64_t> rows_;                // of the last place, which the new beams grew from
  std::vector<int64_t> rows_of_;             // how many of them each open sentence has
  std::vector<std::vector<int64_t>> results_;
};

}  // namespace

std::vector<std::vector<int64_t>> beam_search(EncoderDecoder& model, const TokenSide& source,
                                              const BeamOptions& options, const PassScope& pass) {
  parallel::check_internal(pass.group.size() == 1, "beam_search over ", pass.group.size(), " ranks");
  const at::NoGradGuard no_gradient;
  if (source.sequences.count() == 0) return {};
  return BeamSearch(model, source, options, pass).run();
}

}  // namespace moetrain
