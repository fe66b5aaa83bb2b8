#include "data/tokenizers/sentencepiece_pieces.h"

#include <sentencepiece_processor.h>

namespace data {
namespace {

PieceKind kind_of(const sentencepiece::SentencePieceProcessor& processor, int id) {
  if (processor.IsControl(id) || processor.IsUnused(id)) return PieceKind::kControl;
  if (processor.IsUnknown(id)) return PieceKind::kUnknown;
  return processor.IsByte(id) ? PieceKind::kByte : PieceKind::kNormal;
}

}  // namespace

std::vector<Piece> sentencepiece_pieces(const sentencepiece::SentencePieceProcessor& processor) {
  std::vector<Piece> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    pieces.push_back({processor.IdToPiece(id), processor.GetScore(id), kind_of(processor, id)});
  }
  return pieces;
}

}  // namespace data
