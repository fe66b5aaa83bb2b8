// defines: Charsmap, decode_base64
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
  /// UserError that begins with `place` for what is no such table. Whatever its units hold, normalize never leaves it.
  Charsmap(std::string_view bytes, const std::string& place);
  /// UserError that begins with `place` where a reader that trusts the units, as SentencePiece's own does, could leave
  /// the table.
  void require_sound(const std::string& place) const;

  /// Whether printable ASCII stays as it is, but for what follows it, and no entry has a space in it: what stands
  /// before and behind a space then has no say in each other's.
  bool keeps_words() const;

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

/// UserError that begins with `place` where the text is none.
std::string decode_base64(std::string_view text, const std::string& place);

}  // namespace data
