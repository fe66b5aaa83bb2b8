#include "data/chat/encoded_chat.h"

#include <algorithm>
#include <optional>
#include <string>

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

/// Where each token begins, and where the last one ends; nothing where they do not give back the text.
std::optional<std::vector<size_t>> token_places(const Tokenizer& tokenizer, const ChatText& chat,
                                                const std::vector<int32_t>& tokens) {
  std::string said;  // without control pieces
  std::vector<size_t> places = {0};
  auto control = chat.controls.begin();
  for (const int32_t token : tokens) {
    const bool is_control = control != chat.controls.end() && *control == places.back();
    size_t bytes = static_cast<size_t>(tokenizer.text_bytes(token));
    if (is_control) {
      bytes = tokenizer.piece(token).text.size();
      ++control;
    } else {
      said.append(chat.text, std::min(places.back(), chat.text.size()), bytes);
    }
    places.push_back(places.back() + bytes);
  }
  if (places.back() != chat.text.size() || control != chat.controls.end() || tokenizer.decode(tokens) != said)
    return {};
  return places;
}

}  // namespace

EncodedChat encode_chat(const Tokenizer& tokenizer, const ChatText& chat) {
  EncodedChat encoded{.tokens = tokenizer.encode(chat.text, chat.controls)};
  encoded.learned.assign(encoded.tokens.size(), 0);
  const auto places = token_places(tokenizer, chat, encoded.tokens);
  for (const auto& [begin, end] : chat.learned) {
    for (size_t i = 0; places && i < encoded.tokens.size(); ++i) {
      if ((*places)[i] < end && (*places)[i + 1] > begin) encoded.learned[i] = 1;
    }
    if (places) continue;
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
