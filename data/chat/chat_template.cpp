#include "data/chat/chat_template.h"

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"

namespace data {
namespace {

void write_chatml(const Conversation& conversation, bool ask, ChatWriter& out) {
  for (const ChatMessage& message : conversation) {
    out.control("<|im_start|>");
    out.say(message.role + "\n");
    const size_t begin = out.place();
    out.say(message.content);
    out.control("<|im_end|>");
    if (message.learned) out.learn_from(begin);
    out.say("\n");
  }
  if (!ask) return;
  out.control("<|im_start|>");
  out.say("assistant\n");
}

void write_llama3(const Conversation& conversation, bool ask, ChatWriter& out) {
  const auto header = [&](const std::string& role) {
    out.control("<|start_header_id|>");
    out.say(role);
    out.control("<|end_header_id|>");
    out.say("\n\n");
  };
  out.control("<|begin_of_text|>");
  for (const ChatMessage& message : conversation) {
    header(message.role);
    const size_t begin = out.place();
    out.say(parallel::trimmed(message.content, " \t\n\r\v\f"));
    out.control("<|eot_id|>");
    if (message.learned) out.learn_from(begin);
  }
  if (ask) header("assistant");
}

/// The system's message goes before the first of the user. `mark` writes "[INST]" and "[/INST]".
template <class Mark>
void write_instructions(const Conversation& conversation, const char* before, const char* after, const Mark& mark,
                        ChatWriter& out) {
  std::string system;
  out.control("<s>");
  for (const ChatMessage& message : conversation) {
    if (message.role == "system") {
      system = message.content + "\n\n";
    } else if (message.role == "user") {
      out.say(before);
      mark("[INST]");
      out.say(" " + system + message.content + after);
      mark("[/INST]");
      system.clear();
    } else {
      const size_t begin = out.place();
      out.say(" ");
      out.say(message.content);
      out.end_of_text();
      if (message.learned) out.learn_from(begin);
    }
  }
}

void write_mistral(const Conversation& conversation, bool, ChatWriter& out) {
  write_instructions(
      conversation, "", "", [&](const char* piece) { out.control(piece); }, out);
}

void write_mistral_v1(const Conversation& conversation, bool, ChatWriter& out) {
  write_instructions(
      conversation, " ", " ", [&](const char* piece) { out.say(piece); }, out);
}

void write_plain(const Conversation& conversation, bool, ChatWriter& out) {
  for (const ChatMessage& message : conversation) {
    const size_t begin = out.place();
    out.say(message.content);
    if (message.role == "assistant") out.end_of_text();
    if (message.learned) out.learn_from(begin);
  }
}

constexpr const char* kChatmlJinja =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr const char* kLlama3Jinja =
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
constexpr const char* kMistralJinja =
    "{{ '<s>' }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set ns.system = m['content'] + '\n\n' %}{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + ns.system + m['content'] + '[/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + '{end}' }}{% endif %}{% endfor %}";
constexpr const char* kMistralV1Jinja =
    "{{ '<s>' }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set ns.system = m['content'] + '\n\n' %}{% elif m['role'] == 'user' %}"
    "{{ ' [INST] ' + ns.system + m['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + '{end}' }}{% endif %}{% endfor %}";
constexpr const char* kPlainJinja =
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ '{end}' }}{% endif %}{% endfor %}";

void require_alternating(const Conversation& conversation, const std::string& place) {
  const size_t first = !conversation.empty() && conversation.front().role == "system" ? 1 : 0;
  for (size_t i = first; i < conversation.size(); ++i) {
    const char* expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (conversation[i].role == expected) continue;
    parallel::user_error(place, ": message ", i, " is of the ", conversation[i].role,
                         "; this chat template lets user and assistant speak in turn, the user first");
  }
}

}  // namespace

ChatTemplateTable builtin_chat_templates() {
  return {"chat template",
          {{"chatml", {{"<|im_start|>", "<|im_end|>"}, write_chatml, false, kChatmlJinja}},
           {"llama3",
            {{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
             write_llama3,
             false,
             kLlama3Jinja}},
           {"mistral", {{"<s>", "[INST]", "[/INST]"}, write_mistral, true, kMistralJinja}},
           {"mistral_v1", {{"<s>"}, write_mistral_v1, true, kMistralV1Jinja}},
           {"plain", {{}, write_plain, false, kPlainJinja}}}};
}

ChatText write_chat(const ChatTemplate& chat_template, const ChatForm& form, Conversation conversation,
                    const std::string& end_of_text, bool ask, const std::string& place) {
  const bool has_system = !conversation.empty() && conversation.front().role == "system";
  if (!has_system && !form.system.empty()) conversation.insert(conversation.begin(), {"system", form.system, false});
  if (chat_template.alternates) require_alternating(conversation, place);
  ChatWriter out(end_of_text);
  chat_template.write(conversation, ask, out);
  return std::move(out).take();
}

std::string answer_end(const ChatTemplate& chat_template, const std::string& end_of_text) {
  const Conversation shortest = {{"user", "?", false}, {"assistant", "!", true}};
  const ChatText chat = write_chat(chat_template, {}, shortest, end_of_text, /*ask=*/false, "");
  const size_t end = chat.learned.back().second;
  const auto last = std::ranges::lower_bound(chat.controls, end) - 1;
  return chat.text.substr(*last, end - *last);
}

std::string jinja_of(const ChatTemplate& chat_template, const ChatForm& form, const std::string& end_of_text) {
  std::string jinja = chat_template.jinja;
  const std::string mark = "{end}";
  for (size_t at = jinja.find(mark); at != std::string::npos; at = jinja.find(mark, at + end_of_text.size())) {
    jinja.replace(at, mark.size(), end_of_text);
  }
  if (form.system.empty()) return jinja;
  return "{% if messages[0]['role'] != 'system' %}{% set messages = [{'role': 'system', 'content': " +
         nlohmann::json(form.system).dump() + "}] + messages %}{% endif %}" + jinja;
}

}  // namespace data
