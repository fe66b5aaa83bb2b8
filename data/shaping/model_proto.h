// defines: proto_fields, require_sound_normalizer
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// The bytes of each field `number` of a protocol buffer's message. UserError that begins with `place` where it is
/// none.
std::vector<std::string_view> proto_fields(std::string_view message, int number, const std::string& place);

/// The SentencePiece library trusts the normaliser's table inside a model, which came from outside: UserError that
/// begins with `place` where it would read beyond.
void require_sound_normalizer(std::string_view model, const std::string& place);

}  // namespace data
