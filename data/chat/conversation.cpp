#include "data/chat/conversation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

const std::string& text_of(const nlohmann::json& message, const char* key, const std::string& place) {
  const auto member = message.find(key);
  if (member == message.end()) {
    parallel::user_error(place, ": the message has no \"", key,
                         "\"; legal: {\"role\": \"user\", \"content\": \"...\"}");
  }
  if (!member->is_string()) parallel::user_error(place, ".", key, ": is ", member->type_name(), ", not a string");
  return member->get_ref<const std::string&>();
}

/// Adds the messages of `list`; `learned` of those of the assistant.
void append_messages(const nlohmann::json& list, const std::string& place, bool learned, Conversation& conversation) {
  static const std::vector<std::string> kRoles = {"system", "user", "assistant"};
  if (!list.is_array()) parallel::user_error(place, ": is ", list.type_name(), ", not a list of messages");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = parallel::concat(place, "[", i, "]");
    if (!list[i].is_object()) parallel::user_error(at, ": is ", list[i].type_name(), ", not a message");
    const std::string& role = text_of(list[i], "role", at);
    if (std::ranges::find(kRoles, role) == kRoles.end()) {
      parallel::user_error(at, ".role: '", parallel::printable(role), "'; legal: ", parallel::list_names(kRoles));
    }
    if (role == "system" && !conversation.empty()) {
      parallel::user_error(at, ".role: a message of the system can only be the first of a conversation");
    }
    conversation.push_back({role, text_of(list[i], "content", at), learned && role == "assistant"});
  }
}

}  // namespace

std::optional<Conversation> read_conversation(const nlohmann::json& object, const std::string& place) {
  const auto messages = object.find("messages"), prompt = object.find("prompt"), completion = object.find("completion");
  if (messages != object.end() && prompt != object.end() && completion != object.end()) {
    parallel::user_error(place, ": has \"messages\" and a \"prompt\" with \"completion\"; one of them is legal");
  }
  if (messages == object.end() && prompt == object.end() && completion == object.end()) return std::nullopt;
  Conversation conversation;
  if (messages != object.end()) {
    append_messages(*messages, place + ": messages", true, conversation);
    return conversation;
  }
  if (prompt == object.end() || completion == object.end()) {
    const bool lacks_prompt = prompt == object.end();
    parallel::user_error(place, ": has a \"", lacks_prompt ? "completion" : "prompt", "\" and no \"",
                         lacks_prompt ? "prompt" : "completion", "\"");
  }
  if (prompt->is_string() && completion->is_string()) {
    return Conversation{{"user", prompt->get<std::string>(), false},
                        {"assistant", completion->get<std::string>(), true}};
  }
  append_messages(*prompt, place + ": prompt", false, conversation);
  append_messages(*completion, place + ": completion", true, conversation);
  return conversation;
}

}  // namespace data
