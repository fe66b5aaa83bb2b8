// A model's own tokenizer as Hugging Face keeps it: tokenizer.json.
// defines: make_hugging_face, load_hugging_face
#pragma once
#include <memory>
#include <string>

#include "data/tokenizers/tokenizer.h"
#include "data/tokenizers/tokenizer_files.h"

namespace data {

/// From tokenizer.json and what lies beside it. Its tokens are those of the Python package `tokenizers` (with
/// encode_special_tokens for Specials::kAsText, where in addition no merge and no Unigram piece makes a control piece);
/// its text that of its decode. What of the file is not used: truncation and padding, offsets, pairs of texts.
///
/// Control pieces are the added tokens marked special, and the end of text. UserError that begins with `folder` and
/// names file and place for everything that cannot be used, and where nothing says what ends a text.
std::shared_ptr<const Tokenizer> make_hugging_face(TokenizerFiles files, const std::string& folder);

/// Reads serialized(): serialize_files.
std::shared_ptr<const Tokenizer> load_hugging_face(const std::string& serialized);

}  // namespace data
