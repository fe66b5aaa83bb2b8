#include "data/tokenizers/control_pieces.h"

#include <algorithm>
#include <set>

#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr size_t kLongestControlName = 64;
constexpr size_t kMostControls = 65536;

bool is_taken(std::string_view name) {
  return name == "<unk>" || name == "<s>" || name == "</s>" || (name.size() == 6 && name.starts_with("<0x"));
}

}  // namespace

std::string language_tag(std::string_view language) { return "<2" + std::string(language) + ">"; }

std::vector<std::string> tagged_languages(const Tokenizer& tokenizer) {
  std::vector<std::string> languages;
  for (int64_t token = 0; token < tokenizer.vocabulary_size(); ++token) {
    const Piece piece = tokenizer.piece(token);
    const bool is_tag = piece.text.size() > 3 && piece.text.starts_with("<2") && piece.text.ends_with(">");
    if (piece.kind == PieceKind::kControl && is_tag) languages.push_back(piece.text.substr(2, piece.text.size() - 3));
  }
  return languages;
}

void require_control_names(const std::vector<std::string>& names) {
  if (names.size() > kMostControls) {
    parallel::user_error(names.size(), " control pieces; at most ", kMostControls, " are legal");
  }
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    const bool printable =
        std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7F && c != ',' && c != '"'; });
    if (name.empty() || name.size() > kLongestControlName || !printable) {
      parallel::user_error("a control piece of ", name.size(), " bytes, '", name.substr(0, kLongestControlName),
                           "'; legal are 1 to ", kLongestControlName,
                           " printable ASCII characters without ' ', ',', '\"'");
    }
    if (is_taken(name)) parallel::user_error("the control piece '", name, "' is there anyway; choose another name");
    if (!seen.insert(name).second) parallel::user_error("there are two control pieces '", name, "'");
  }
}

}  // namespace data
