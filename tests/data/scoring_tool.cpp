// Scores corpora for scoring_check.py. Input: "SEGMENTS LOWERCASE" and a line's end, then every hypothesis and every
// reference as "BYTES:" and that many bytes (any bytes, also no UTF-8); then the next corpus, to the end of the input.
// Output: a line for each, BLEU, its four precisions, its brevity penalty, its two lengths, and chrF.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "data/scoring/bleu.h"
#include "data/scoring/chrf.h"
#include "parallel/base/fault.h"

namespace {

std::string read_text(std::istream& input) {
  size_t bytes = 0;
  input >> bytes;
  parallel::check_internal(input.get() == ':', "no colon after a text's length");
  std::string text(bytes, '\0');
  input.read(text.data(), static_cast<std::streamsize>(bytes));
  parallel::check_internal(!input.fail(), "the input ends within a text");
  return text;
}

std::vector<std::string> read_texts(std::istream& input, size_t count) {
  std::vector<std::string> texts(count);
  for (std::string& text : texts) text = read_text(input);
  return texts;
}

void score_corpora(std::istream& input) {
  size_t segments = 0;
  data::BleuOptions options;
  while (input >> segments >> options.lowercase) {
    const std::vector<std::string> hypotheses = read_texts(input, segments);
    const std::vector<std::string> references = read_texts(input, segments);
    const data::BleuScore bleu = data::corpus_bleu(hypotheses, references, options);
    std::printf("%.17g ", bleu.score);
    for (const double precision : bleu.precisions) std::printf("%.17g ", precision);
    std::printf("%.17g %lld %lld ", bleu.brevity_penalty, static_cast<long long>(bleu.hypothesis_length),
                static_cast<long long>(bleu.reference_length));
    std::printf("%.17g\n", data::corpus_chrf(hypotheses, references));
  }
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  score_corpora(std::cin);
}
