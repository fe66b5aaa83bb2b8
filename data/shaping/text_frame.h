// defines: TextFrame, read_text_frame
#pragma once
#include <cstdint>
#include <vector>

#include "data/text/json_value.h"

namespace data {

/// What a tokenizer puts around a text when it is asked to.
struct TextFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

/// The "post_processor" of a tokenizer.json, for one text. UserError with the place for an unknown kind (which lists
/// the known ones), and for tokens outside [0, vocabulary_size).
TextFrame read_text_frame(const JsonValue& value, int64_t vocabulary_size);

}  // namespace data
