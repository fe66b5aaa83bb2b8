#include "data/scoring/segments.h"

#include <algorithm>
#include <iterator>

#include "parallel/base/fault.h"

namespace data {
namespace {

std::vector<std::u32string_view> sorted_ngrams(std::u32string_view sequence, size_t order) {
  std::vector<std::u32string_view> ngrams;
  for (size_t at = 0; at + order <= sequence.size(); ++at) ngrams.push_back(sequence.substr(at, order));
  std::sort(ngrams.begin(), ngrams.end());
  return ngrams;
}

}  // namespace

void check_segments(const char* score, const std::vector<std::string>& hypotheses,
                    const std::vector<std::string>& references) {
  if (hypotheses.size() != references.size())
    parallel::user_error(score, ": there are ", hypotheses.size(), " hypotheses and ", references.size(),
                         " references; each hypothesis needs the one reference at its place");
  if (hypotheses.empty())
    parallel::user_error(score, ": there are 0 hypotheses and 0 references; a score needs at least one of each");
}

int64_t ngram_count(std::u32string_view sequence, size_t order) {
  return sequence.size() < order ? 0 : static_cast<int64_t>(sequence.size() - order + 1);
}

int64_t shared_ngrams(std::u32string_view hypothesis, std::u32string_view reference, size_t order) {
  const auto ours = sorted_ngrams(hypothesis, order);
  const auto theirs = sorted_ngrams(reference, order);
  // Of equal elements, the intersection of sorted ranges takes as many as the range has that has fewer.
  std::vector<std::u32string_view> shared;
  std::set_intersection(ours.begin(), ours.end(), theirs.begin(), theirs.end(), std::back_inserter(shared));
  return static_cast<int64_t>(shared.size());
}

}  // namespace data
