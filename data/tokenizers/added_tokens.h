// defines: AddedToken, AddedTokens, TextCut, encode_between
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/shaping/normalizers.h"
#include "data/subwords/byte_trie.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

/// A piece that is looked for in the text itself, before the model sees what is between.
struct AddedToken {
  std::string content;
  int32_t token = 0;
  bool single_word = false;  // not with a letter or digit beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool normalized = false;   // is looked for after the normalizer, as that would write it
  bool special = false;      // a control piece
};

/// A stretch of a text: an added token, or what is between two.
struct TextCut {
  size_t begin = 0;  // [bytes]
  size_t end = 0;
  int32_t token = -1;  // -1: none
};

/// Finds the longest of the added tokens at the leftmost place, again and again.
class AddedTokens {
 public:
  /// Null: no normalizer.
  explicit AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer = nullptr);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  /// How the normalizer writes token number `index` of tokens(), which is what its decoder expects.
  const std::string& written(size_t index) const { return written_[index]; }

  /// With `places`, control pieces are those that begin there.
  std::vector<TextCut> cut_raw(std::string_view text, Specials specials, const ControlPlaces* places = nullptr) const {
    return cut(raw_, text, specials, places);
  }
  std::vector<TextCut> cut_normalized(std::string_view text, Specials specials) const {
    return cut(normalized_, text, specials, nullptr);
  }

 private:
  std::vector<TextCut> cut(const ByteTrie& trie, std::string_view text, Specials specials,
                           const ControlPlaces* places) const;
  void take(const AddedToken& token, std::string_view text, TextCut match, std::vector<TextCut>& cuts,
            size_t& done) const;

  std::vector<AddedToken> tokens_;
  std::vector<std::string> written_;
  ByteTrie raw_;
  ByteTrie normalized_;
};

/// Each control piece that the text spells (at `places`, where that is not null) as its token, and what `encode` makes
/// of each stretch between.
std::vector<int32_t> encode_between(const AddedTokens& controls, std::string_view text, const ControlPlaces* places,
                                    const std::function<std::vector<int32_t>(std::string_view)>& encode);

}  // namespace data
