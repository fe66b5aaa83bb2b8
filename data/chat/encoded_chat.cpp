#include "data/chat/encoded_chat.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace data {
namespace {

/// How many of the text's tokens what stands before byte `place` has by itself, too.
size_t tokens_before(const Tokenizer& tokenizer, const ChatText& chat, size_t place,
                     const std::vector<int32_t>& tokens) {
  if (place == chat.text.size()) return tokens.size();
  const ControlPlaces before(chat.controls.begin(), std::ranges::lower_bound(chat.controls, place));
  const std::vector<int32_t> alone = tokenizer.encode(std::string_view(chat.text).substr(0, place), before);
  return static_cast<size_t>(std::ranges::mismatch(alone, tokens).in2 - tokens.begin());
}

}  // namespace

EncodedChat encode_chat(const Tokenizer& tokenizer, const ChatText& chat) {
  EncodedChat encoded{.tokens = tokenizer.encode(chat.text, chat.controls)};
  encoded.learned.assign(encoded.tokens.size(), 0);
  for (const auto& [begin, end] : chat.learned) {
    const size_t first = tokens_before(tokenizer, chat, begin, encoded.tokens);
    const size_t last = tokens_before(tokenizer, chat, end, encoded.tokens);
    for (size_t i = first; i < last; ++i) encoded.learned[i] = 1;
  }
  return encoded;
}

void require_chat_controls(const Tokenizer& tokenizer, const ChatForm& form, const ChatTemplate& chat_template) {
  for (const std::string& piece : chat_template.controls) {
    try {
      const auto token = static_cast<int32_t>(tokenizer.control(piece));
      if (tokenizer.encode(piece, ControlPlaces{0}) == std::vector<int32_t>{token}) continue;
    } catch (const parallel::UserError& lacking) {
      parallel::user_error("chat template '", form.name, "': ", lacking.what());
    }
    parallel::user_error("chat template '", form.name, "': the tokenizer makes other tokens of its control piece '",
                         piece, "'");
  }
}

}  // namespace data
