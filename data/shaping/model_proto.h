// defines: proto_fields, proto_number, require_sound_normalizer
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// The bytes of each field `number` of a protocol buffer's message. UserError that begins with `place` where it is
/// none.
std::vector<std::string_view> proto_fields(std::string_view message, int number, const std::string& place);

/// The number that field `number` has last, of those that are written in as many bytes as they need (wire type 0).
std::optional<uint64_t> proto_number(std::string_view message, int number, const std::string& place);

/// The SentencePiece library trusts the normaliser's table inside a model, which came from outside: UserError that
/// begins with `place` where it would read beyond.
void require_sound_normalizer(std::string_view model, const std::string& place);

}  // namespace data
