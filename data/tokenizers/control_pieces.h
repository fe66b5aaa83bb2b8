// defines: language_tag, tagged_languages, require_control_names
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace data {

/// "<2de>", the control piece that asks for a text in language "de".
std::string language_tag(std::string_view language);

/// The languages that have a tag, in the order of the vocabulary.
std::vector<std::string> tagged_languages(const Tokenizer& tokenizer);

/// UserError unless all are legal as control pieces of any tokenizer: 1 to 64 printable ASCII characters without space,
/// comma and quotation mark (SentencePiece's own list of them is comma-separated), all different, at most 65536, and
/// none that tokenizers have anyway ("</s>", "<0x0A>").
void require_control_names(const std::vector<std::string>& names);

}  // namespace data
