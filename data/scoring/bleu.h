// defines: BleuOptions, BleuScore, corpus_bleu
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace data {

struct BleuOptions {
  bool lowercase = false;  // "case:lc" of the signature; how far it goes: data/scoring/unicode_text.h
};

struct BleuScore {
  double score = 0;                    // 0 to 100
  std::array<double, 4> precisions{};  // 0 to 100, of n-grams of 1 to 4 words; smoothed where none is right
  double brevity_penalty = 1;          // (0, 1]; 0 where the hypotheses are empty and the references are not
  int64_t hypothesis_length = 0;       // words, by the tokenizer
  int64_t reference_length = 0;
};

/// Corpus BLEU (Papineni et al. 2002), the numbers of sacreBLEU (Post 2018) with its defaults and one reference:
/// nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp, or case:lc. No n-gram right gives score and precisions 0; a corpus
/// without a segment of four words gives score 0. Texts are UTF-8; bytes that are not count as characters of their own
/// (decode_utf8). UserError where the two sides differ in number or are empty.
BleuScore corpus_bleu(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                      const BleuOptions& options);

}  // namespace data
