// defines: corpus_chrf
#pragma once
#include <string>
#include <vector>

namespace data {

/// Corpus chrF2 (Popović 2015), 0 to 100, the number of sacreBLEU (Post 2018) with its defaults and one reference:
/// nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no. Precision and recall of n-grams of 1 to 6 characters, averaged over
/// the orders that both sides have, recall weighing twice (beta 2). Texts are UTF-8; bytes that are not count as
/// characters of their own (decode_utf8). UserError where the two sides differ in number or are empty.
double corpus_chrf(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references);

}  // namespace data
