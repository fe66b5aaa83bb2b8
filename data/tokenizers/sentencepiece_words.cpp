#include "data/tokenizers/sentencepiece_words.h"

#include <algorithm>

#include "data/shaping/charsmap.h"
#include "data/shaping/model_proto.h"
#include "data/tokenizers/marked_spaces.h"

namespace data {
namespace {

// Of sentencepiece_model.proto.
constexpr int kTrainerSpec = 2, kNormalizerSpec = 3;  // of the model
constexpr int kModelType = 3, kSpacesBehind = 24;     // of the trainer's
constexpr uint64_t kByPairs = 2;
constexpr int kTable = 2, kSpaceInFront = 3, kSpacesJoined = 4, kSpacesMarked = 5;  // of the normaliser's

}  // namespace

WordCuts word_cuts(std::string_view model, const std::vector<Piece>& pieces, const std::string& place) {
  const auto trainers = proto_fields(model, kTrainerSpec, place),
             normalizers = proto_fields(model, kNormalizerSpec, place);
  if (trainers.size() != 1 || normalizers.size() != 1) return WordCuts::kNowhere;  // of several the library makes one
  const std::string_view trainer = trainers.front(), normalizer = normalizers.front();
  if (proto_number(trainer, kModelType, place).value_or(1) != kByPairs) return WordCuts::kNowhere;
  if (proto_number(trainer, kSpacesBehind, place).value_or(0) != 0) return WordCuts::kNowhere;
  if (proto_number(normalizer, kSpacesMarked, place).value_or(1) == 0) return WordCuts::kNowhere;
  if (std::ranges::any_of(pieces, [](const Piece& piece) { return has_inner_space(piece.text); })) {
    return WordCuts::kNowhere;
  }
  const bool has_space = std::ranges::any_of(
      pieces, [](const Piece& piece) { return piece.kind == PieceKind::kNormal && piece.text == kSpaceMark; });
  if (!has_space) return WordCuts::kNowhere;
  const auto tables = proto_fields(normalizer, kTable, place);
  if (tables.size() > 1) return WordCuts::kNowhere;
  if (!tables.empty() && !tables.front().empty() && !Charsmap(tables.front(), place).keeps_words()) {
    return WordCuts::kNowhere;
  }
  if (proto_number(normalizer, kSpaceInFront, place).value_or(1) != 0) return WordCuts::kSpaceLeft;
  return proto_number(normalizer, kSpacesJoined, place).value_or(1) == 0 ? WordCuts::kSpaceTaken : WordCuts::kNowhere;
}

}  // namespace data
