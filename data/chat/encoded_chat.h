// defines: EncodedChat, encode_chat, require_chat_controls
#pragma once
#include <cstdint>
#include <vector>

#include "data/chat/chat_template.h"

namespace data {

struct EncodedChat {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> learned;  // of each token: 1 where a model is to say it
};

/// The whole text is encoded as one, as `apply_chat_template` does. A token is learned that has a byte of an answer.
/// Where the tokens do not tell their bytes (of a tokenizer that normalises), those are learned from the first on that
/// what stands before an answer would not have by itself, up to the last that the text has to the answer's end.
EncodedChat encode_chat(const Tokenizer& tokenizer, const ChatText& chat);

/// UserError where the tokenizer lacks one of the template's control pieces, or makes another token of it.
void require_chat_controls(const Tokenizer& tokenizer, const ChatForm& form, const ChatTemplate& chat_template);

}  // namespace data
