// defines: WordCuts, word_cuts, for_each_word: where a text may be cut so that a SentencePiece model's tokens of it are
// those of its words
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace data {

/// What becomes of the space between two words.
enum class WordCuts {
  kNowhere,     // the text is encoded whole
  kSpaceLeft,   // the model puts one in front of each word itself
  kSpaceTaken,  // the word behind it has it
};

/// Words may be encoded one by one where the model is a byte-pair encoding none of whose pieces has a space behind
/// another character (merges then stay within words) and whose normaliser neither changes printable ASCII nor looks
/// past a space; the space itself must be a piece, for the library joins unknown pieces that stand side by side.
/// `place`: begins the UserError for bytes that are no model.
WordCuts word_cuts(std::string_view model, const std::vector<Piece>& pieces, const std::string& place);

/// action(word) for each in turn. A cut is where a single space stands between printable ASCII: what else is white or
/// may be normalised stays within a word.
template <class Action>
void for_each_word(std::string_view text, WordCuts cuts, const Action& action) {
  const auto printable = [](char c) { return c > ' ' && c < 0x7F; };
  size_t begin = 0;
  for (size_t at = text.find(' '); cuts != WordCuts::kNowhere && at != std::string_view::npos;
       at = text.find(' ', at + 1)) {
    if (at == 0 || at + 1 == text.size() || !printable(text[at - 1]) || !printable(text[at + 1])) continue;
    action(text.substr(begin, at - begin));
    begin = cuts == WordCuts::kSpaceLeft ? at + 1 : at;
  }
  if (begin < text.size()) action(text.substr(begin));
}

}  // namespace data
