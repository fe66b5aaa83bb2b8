// defines: ChatMessage, Conversation, read_conversation
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace data {

/// What somebody says in a conversation.
struct ChatMessage {
  std::string role;  // "system" (only the first), "user" or "assistant"
  std::string content;
  bool learned = false;  // a model is to say this
};

using Conversation = std::vector<ChatMessage>;

/// The conversation that a line's object holds: "messages", a list of objects with "role" and "content", of which those
/// of the assistant are learned; or "prompt" and "completion", both texts (a user's and the assistant's) or both such
/// lists (of which the completion's are learned). Beside messages one of the two alone, as published sets repeat the
/// first question, has no say. Nothing where it has none of these. UserError that begins with
/// `place` and names the message for anything else.
std::optional<Conversation> read_conversation(const nlohmann::json& object, const std::string& place);

}  // namespace data
