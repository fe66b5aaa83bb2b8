// defines: tokenize_13a
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// The words and punctuation marks of a text, as NIST's mteval-v13a.pl separates them and sacreBLEU's
/// tokenizers/tokenizer_13a.py and tokenizer_re.py (version 2.6.0) do it again. Made for Western languages: only ASCII
/// punctuation is separated, words end at Unicode whitespace.
std::vector<std::u32string> tokenize_13a(std::u32string_view text);

}  // namespace data
