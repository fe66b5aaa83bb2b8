// defines: Charsmap
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/regex.h"

namespace data {

/// SentencePiece's own normaliser, as tokenizer.json carries it ("Precompiled"): a double-array trie from what may
/// stand in a text to what it becomes.
class Charsmap {
 public:
  /// UserError that begins with `place` for what is no such table. Whatever its units hold, none leads outside of it.
  Charsmap(std::string_view base64, const std::string& place);

  /// As `tokenizers` does it: a grapheme of less than 6 bytes that begins with an entry becomes that entry's
  /// replacement as a whole; others go character by character.
  std::string normalize(std::string_view text) const;

 private:
  /// Appends what the shortest entry at the beginning of `part` becomes; false where there is none.
  bool append_replacement(std::string_view part, std::string& text) const;

  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends with a zero byte
  Regex graphemes_;
};

}  // namespace data
