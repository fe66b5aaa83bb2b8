// A model's own SentencePiece tokenizer, whatever it does to a text.
// defines: make_sentencepiece_model, load_sentencepiece_model
#pragma once
#include <memory>
#include <string>

#include "data/tokenizers/tokenizer.h"
#include "data/tokenizers/tokenizer_files.h"

namespace data {

/// From tokenizer.model (spiece.model, sentencepiece.bpe.model): byte-pair encoding, Unigram, words or characters, with
/// its normaliser, space in front and own symbols. Tokens and text are those of the `sentencepiece` library. Tokens
/// that added_tokens.json or tokenizer_config.json adds behind its pieces are control pieces. With Specials::kParsed
/// the text is cut at control pieces, and each stretch is encoded as a text of its own.
///
/// The end of text is what tokenizer_config.json says, else the model's own. Where that is a piece like others, a text
/// that spells it becomes the piece's characters. UserError that begins with `folder`.
std::shared_ptr<const Tokenizer> make_sentencepiece_model(TokenizerFiles files, const std::string& folder);

/// Reads serialized(): serialize_files.
std::shared_ptr<const Tokenizer> load_sentencepiece_model(const std::string& serialized);

}  // namespace data
