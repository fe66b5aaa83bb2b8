#include "data/shaping/model_proto.h"

#include <cstdint>
#include <optional>

#include "data/shaping/charsmap.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

// Of sentencepiece_model.proto.
constexpr int kNormalizerSpec = 3;       // of the model
constexpr int kDenormalizerSpec = 5;     // of the model
constexpr int kPrecompiledCharsmap = 2;  // of either

/// A number in bits of seven, which leaves the message.
std::optional<uint64_t> take_varint(std::string_view& message) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(message.front());
    message.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

/// action(key, number of wire type 0, bytes of the others) for each field in turn.
template <class Action>
void for_each_field(std::string_view message, const std::string& place, const Action& action) {
  const size_t whole = message.size();
  while (!message.empty()) {
    const size_t at = whole - message.size();
    const auto key = take_varint(message);
    const uint64_t wire = key.value_or(7) & 7;
    // A group (3, 4), which no such message has, could hide a field from this reader that the library's sees.
    std::optional<uint64_t> size, number;
    if (wire == 0) {
      number = take_varint(message);
      if (number) size = 0;
    }
    if (wire == 1) size = 8;
    if (wire == 2) size = take_varint(message);
    if (wire == 5) size = 4;
    if (!size || *size > message.size()) {
      parallel::user_error(place, ": not a SentencePiece model: no field of a message at byte ", at);
    }
    action(*key, number.value_or(0), message.substr(0, *size));
    message.remove_prefix(*size);
  }
}

}  // namespace

std::vector<std::string_view> proto_fields(std::string_view message, int number, const std::string& place) {
  std::vector<std::string_view> found;
  for_each_field(message, place, [&](uint64_t key, uint64_t, std::string_view bytes) {
    if ((key & 7) == 2 && key >> 3 == static_cast<uint64_t>(number)) found.push_back(bytes);
  });
  return found;
}

std::optional<uint64_t> proto_number(std::string_view message, int number, const std::string& place) {
  std::optional<uint64_t> found;
  for_each_field(message, place, [&](uint64_t key, uint64_t value, std::string_view) {
    if ((key & 7) == 0 && key >> 3 == static_cast<uint64_t>(number)) found = value;
  });
  return found;
}

void require_sound_normalizer(std::string_view model, const std::string& place) {
  // All of them: of several specs the library makes one.
  for (const int number : {kNormalizerSpec, kDenormalizerSpec}) {
    for (const std::string_view spec : proto_fields(model, number, place)) {
      for (const std::string_view table : proto_fields(spec, kPrecompiledCharsmap, place)) {
        if (!table.empty()) Charsmap(table, place).require_sound(place);
      }
    }
  }
}

}  // namespace data
