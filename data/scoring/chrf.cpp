#include "data/scoring/chrf.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "data/scoring/segments.h"
#include "data/scoring/unicode_text.h"

namespace data {
namespace {

constexpr size_t kCharacterOrder = 6;
constexpr double kBetaSquared = 4;  // chrF2

struct ChrfCounts {
  int64_t hypothesis = 0;
  int64_t reference = 0;
  int64_t shared = 0;
};

std::u32string without_whitespace(std::string_view text) {
  std::u32string characters = decode_utf8(text);
  std::erase_if(characters, is_whitespace);
  return characters;
}

/// By order - 1. As sacreBLEU has it, a hypothesis does not pay for n-grams that its reference is too short to have.
std::array<ChrfCounts, kCharacterOrder> count_characters(const std::vector<std::string>& hypotheses,
                                                         const std::vector<std::string>& references) {
  std::array<ChrfCounts, kCharacterOrder> counts;
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    const std::u32string hypothesis = without_whitespace(hypotheses[i]);
    const std::u32string reference = without_whitespace(references[i]);
    for (size_t order = 1; order <= kCharacterOrder; ++order) {
      const int64_t in_reference = ngram_count(reference, order);
      if (in_reference == 0) continue;
      counts[order - 1].hypothesis += ngram_count(hypothesis, order);
      counts[order - 1].reference += in_reference;
      counts[order - 1].shared += shared_ngrams(hypothesis, reference, order);
    }
  }
  return counts;
}

}  // namespace

double corpus_chrf(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references) {
  check_segments("chrF", hypotheses, references);
  double precision = 0;
  double recall = 0;
  int64_t orders = 0;
  for (const ChrfCounts& order : count_characters(hypotheses, references)) {
    if (order.hypothesis == 0 || order.reference == 0) continue;
    precision += static_cast<double>(order.shared) / static_cast<double>(order.hypothesis);
    recall += static_cast<double>(order.shared) / static_cast<double>(order.reference);
    ++orders;
  }
  if (precision + recall == 0) return 0;
  precision /= static_cast<double>(orders);
  recall /= static_cast<double>(orders);
  return 100 * (1 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

}  // namespace data
