#include "data/prepare/document_parts.h"

namespace data {

void write_messages(PartWriter& part, const Conversation& messages) {
  part.number(static_cast<int64_t>(messages.size()));
  for (const ChatMessage& message : messages) {
    part.text(message.role);
    part.text(message.content);
    part.number(message.learned ? 1 : 0);
  }
}

Conversation read_messages(PartReader& part) {
  Conversation messages;
  for (int64_t left = part.number(); left > 0; --left) {
    ChatMessage& message = messages.emplace_back();
    message.role = part.text();
    message.content = part.text();
    message.learned = part.number() != 0;
  }
  return messages;
}

}  // namespace data
