// defines: Vocabulary, kMostPieces
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text/json_value.h"

namespace data {

/// Pieces and their tokens, both ways.
class Vocabulary {
 public:
  /// piece -> token. UserError: a token that two pieces have, one that is negative or far beyond the number of pieces,
  /// and more pieces than any model has.
  static Vocabulary from_object(const JsonValue& value);
  /// Pieces in the order of their tokens; of equal ones the last one is found.
  explicit Vocabulary(std::vector<std::string> pieces);

  std::optional<int32_t> find(std::string_view piece) const {
    const auto found = tokens_.find(piece);
    return found == tokens_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::vector<std::string>& pieces() const { return pieces_; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }

  /// The tokens of the bytes; nothing of a text that holds a byte without one.
  bool append_bytes(std::string_view text, std::vector<int32_t>& tokens) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view piece) const { return std::hash<std::string_view>{}(piece); }
  };

  Vocabulary() = default;
  void index();

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> tokens_;
  std::array<int32_t, 256> byte_tokens_{};  // -1: none
};

constexpr size_t kMostPieces = size_t{1} << 23;

}  // namespace data
