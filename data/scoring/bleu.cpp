#include "data/scoring/bleu.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "data/scoring/segments.h"
#include "data/scoring/tokenizer_13a.h"
#include "data/scoring/unicode_text.h"

namespace data {
namespace {

struct BleuCounts {
  std::array<int64_t, 4> correct{};  // by order - 1
  std::array<int64_t, 4> total{};
  int64_t hypothesis_length = 0;
  int64_t reference_length = 0;
};

/// Words as numbers, in the order of their coming: n-grams of numbers are cheap to compare.
class WordNumbers {
 public:
  explicit WordNumbers(const BleuOptions& options) : options_(options) {}

  std::u32string number(std::string_view text) {
    std::u32string decoded = decode_utf8(text);
    if (options_.lowercase) decoded = lowercase(decoded);
    std::u32string numbers;
    for (std::u32string& word : tokenize_13a(strip_end(decoded))) {
      const auto next = static_cast<char32_t>(numbers_.size());
      numbers.push_back(numbers_.emplace(std::move(word), next).first->second);
    }
    return numbers;
  }

 private:
  BleuOptions options_;
  std::unordered_map<std::u32string, char32_t> numbers_;
};

BleuCounts count_words(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                       const BleuOptions& options) {
  WordNumbers words(options);
  BleuCounts counts;
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    const std::u32string hypothesis = words.number(hypotheses[i]);
    const std::u32string reference = words.number(references[i]);
    counts.hypothesis_length += ngram_count(hypothesis, 1);
    counts.reference_length += ngram_count(reference, 1);
    for (size_t order = 1; order <= 4; ++order) {
      counts.correct[order - 1] += shared_ngrams(hypothesis, reference, order);
      counts.total[order - 1] += ngram_count(hypothesis, order);
    }
  }
  return counts;
}

double brevity_penalty(int64_t hypothesis_length, int64_t reference_length) {
  if (hypothesis_length >= reference_length) return 1;
  if (hypothesis_length == 0) return 0;
  return std::exp(1 - static_cast<double>(reference_length) / static_cast<double>(hypothesis_length));
}

/// Exponential smoothing (method 3 of Chen and Cherry 2014, NIST's): the first order without a right n-gram counts half
/// of one as right, the next a quarter, and so on. Orders that the hypotheses are too short for stay 0.
std::array<double, 4> smoothed_precisions(const BleuCounts& counts) {
  std::array<double, 4> precisions{};
  double smallest = 1;
  for (size_t n = 0; n < 4 && counts.total[n] > 0; ++n) {
    const auto total = static_cast<double>(counts.total[n]);
    if (counts.correct[n] > 0) {
      precisions[n] = 100 * static_cast<double>(counts.correct[n]) / total;
    } else {
      smallest *= 2;
      precisions[n] = 100 / (smallest * total);
    }
  }
  return precisions;
}

}  // namespace

BleuScore corpus_bleu(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                      const BleuOptions& options) {
  check_segments("BLEU", hypotheses, references);
  const BleuCounts counts = count_words(hypotheses, references, options);
  BleuScore bleu;
  bleu.hypothesis_length = counts.hypothesis_length;
  bleu.reference_length = counts.reference_length;
  bleu.brevity_penalty = brevity_penalty(counts.hypothesis_length, counts.reference_length);
  // An order above 1 is right only where order 1 is, so this is "nothing is right": nothing to smooth.
  if (counts.correct[0] == 0) return bleu;
  bleu.precisions = smoothed_precisions(counts);
  if (bleu.precisions.back() == 0) return bleu;
  double logarithms = 0;
  for (const double precision : bleu.precisions) logarithms += std::log(precision);
  bleu.score = bleu.brevity_penalty * std::exp(logarithms / 4);
  return bleu;
}

}  // namespace data
