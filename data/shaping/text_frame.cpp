#include "data/shaping/text_frame.h"

#include <utility>

namespace data {
namespace {

constexpr size_t kMostFrameParts = 1024;

using FrameReader = TextFrame (*)(const JsonValue&, int64_t vocabulary_size);

int32_t frame_token(const JsonValue& value, int64_t vocabulary_size) {
  return static_cast<int32_t>(value.integer(0, vocabulary_size - 1));
}

TextFrame read_template(const JsonValue& value, int64_t vocabulary_size) {
  TextFrame frame;
  bool seen_text = false;
  for (const JsonValue& part : value["single"].items(kMostFrameParts)) {
    if (const JsonValue text = part["Sequence"]; !text.is_null()) {
      if (std::exchange(seen_text, true)) part.fail("the text stands in the template twice");
      continue;
    }
    const JsonValue special = value["special_tokens"][part["SpecialToken"]["id"].text()];
    for (const JsonValue& token : special["ids"].items(kMostFrameParts)) {
      (seen_text ? frame.after : frame.before).push_back(frame_token(token, vocabulary_size));
    }
  }
  if (!seen_text) value["single"].fail("the text has no place in the template");
  return frame;
}

/// BERT's and RoBERTa's: a token before and one after.
TextFrame read_pair(const JsonValue& value, int64_t vocabulary_size) {
  TextFrame frame;
  for (const char* side : {"cls", "sep"}) {
    const std::vector<JsonValue> named = value[side].items(2);  // its text and its token
    if (named.size() != 2) value[side].fail("must be a piece and its token");
    (side[0] == 'c' ? frame.before : frame.after).push_back(frame_token(named[1], vocabulary_size));
  }
  return frame;
}

TextFrame read_nothing(const JsonValue&, int64_t) { return {}; }

TextFrame read_processors(const JsonValue& value, int64_t vocabulary_size);

TextFrame read_frame_step(const JsonValue& value, int64_t vocabulary_size, bool nested) {
  parallel::NameTable<FrameReader> known{"post-processor",
                                         {{"TemplateProcessing", read_template},
                                          {"ByteLevel", read_nothing},  // it only trims offsets
                                          {"BertProcessing", read_pair},
                                          {"RobertaProcessing", read_pair}}};
  if (!nested) known.add("Sequence", read_processors);
  return value.pick(known)(value, vocabulary_size);
}

TextFrame read_processors(const JsonValue& value, int64_t vocabulary_size) {
  TextFrame frame;
  for (const JsonValue& step : value["processors"].items(kMostFrameParts)) {
    const TextFrame around = read_frame_step(step, vocabulary_size, true);
    frame.before.insert(frame.before.begin(), around.before.begin(), around.before.end());
    frame.after.insert(frame.after.end(), around.after.begin(), around.after.end());
  }
  return frame;
}

}  // namespace

TextFrame read_text_frame(const JsonValue& value, int64_t vocabulary_size) {
  return value.is_null() ? TextFrame{} : read_frame_step(value, vocabulary_size, false);
}

}  // namespace data
