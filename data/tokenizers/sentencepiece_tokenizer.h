// SentencePiece byte-pair encoding, configured so that it is lossless.
// defines: load_sentencepiece, train_sentencepiece
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace data {

/// Reads a model made by train_sentencepiece. Another SentencePiece model (normalising, with a dummy prefix, without
/// byte fallback) is a UserError, because it would lose text.
///
/// encode: a UserError for a text that is not UTF-8. Pieces never cross a newline (newlines and tabs are byte pieces),
/// so a text may be encoded line by line. A literal "▁" (U+2581), which stands for a space inside pieces, becomes its
/// three bytes. decode: a run of byte pieces that is no valid UTF-8 becomes one U+FFFD for each byte, as in Hugging
/// Face's ByteFallback decoder.
std::shared_ptr<const Tokenizer> load_sentencepiece(const std::string& serialized);

/// The pieces of its vocabulary: 256 bytes, <unk>, <s>, </s>, the controls, and what it learns; the rarest characters
/// are left to byte pieces. Trains on `texts` (valid UTF-8), or on a sample of whole texts spread evenly over them
/// where there is more than `sample_bytes`. The same texts give the same model, byte for byte. Long lines are cut, not
/// skipped. UserError: no text; controls that are not legal (require_control_names); a vocabulary that is too small for
/// the characters, or too large for the text (with the bound).
std::shared_ptr<const Tokenizer> train_sentencepiece(const std::vector<std::string_view>& texts,
                                                     const TokenizerTraining& training);

}  // namespace data
