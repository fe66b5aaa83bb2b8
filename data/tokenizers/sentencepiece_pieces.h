// defines: sentencepiece_pieces
#pragma once
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace data {

/// The vocabulary of a model that is loaded.
std::vector<Piece> sentencepiece_pieces(const sentencepiece::SentencePieceProcessor& processor);

}  // namespace data
