// How a conversation is written for a model.
// defines: ChatText, ChatWriter, ChatTemplate, ChatTemplateTable, builtin_chat_templates, ChatForm, write_chat,
// answer_end, jinja_of
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/conversation.h"
#include "data/tokenizers/tokenizer.h"
#include "parallel/base/name_table.h"

namespace data {

/// A conversation as text.
struct ChatText {
  std::string text;
  ControlPlaces controls;                          // where the template, and no message, wrote a control piece
  std::vector<std::pair<size_t, size_t>> learned;  // [begin, end) in bytes: what a model is to say, with what ends it
};

/// What a template writes with.
class ChatWriter {
 public:
  /// `end_of_text`: the tokenizer's piece.
  explicit ChatWriter(std::string end_of_text) : end_of_text_(std::move(end_of_text)) {}

  void say(std::string_view text) { chat_.text += text; }
  void control(std::string_view piece) {
    chat_.controls.push_back(chat_.text.size());
    chat_.text += piece;
  }
  void end_of_text() { control(end_of_text_); }
  /// From `begin` on, what has been written is learned.
  void learn_from(size_t begin) { chat_.learned.emplace_back(begin, chat_.text.size()); }
  size_t place() const { return chat_.text.size(); }
  ChatText take() && { return std::move(chat_); }

 private:
  std::string end_of_text_;
  ChatText chat_;
};

struct ChatTemplate {
  /// Control pieces that a tokenizer must have; a tokenizer that is made for the text gets them.
  std::vector<std::string> controls;
  /// Writes the messages; with `ask`, then what the assistant's next answer follows.
  void (*write)(const Conversation& conversation, bool ask, ChatWriter& out) = nullptr;
  bool alternates = false;  // the user begins, after a system message if there is one, and speaks every other time
  /// The same as a Jinja template, for `transformers`; {end} stands for the end of text.
  const char* jinja = "";
};

using ChatTemplateTable = parallel::NameTable<ChatTemplate>;

/// Equal to what `apply_chat_template` writes with the models' own:
/// chatml: <|im_start|>ROLE\nCONTENT<|im_end|>\n (OpenAI; Qwen, SmolLM2, which also says a system message of its own
///   where there is none: ChatForm::system);
/// llama3: <|begin_of_text|>, then <|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|> (Llama 3.0);
/// mistral: <s>, then [INST] CONTENT[/INST] and " CONTENT</s>" (Mistral 7B Instruct 0.3, where [INST] is a piece);
/// mistral_v1: <s>, then " [INST] CONTENT [/INST]" and " CONTENT</s>" (0.1 and 0.2, Mixtral, where it is text);
/// plain: the contents one after another, and after each answer the end of text.
/// What ends an answer is learned with it. A program outside the tree adds rows.
ChatTemplateTable builtin_chat_templates();

/// What a text is written by: kept in token files and run folders.
struct ChatForm {
  std::string name;    // of the template
  std::string system;  // what the system says where a conversation has no message of it; empty: nothing
};

/// UserError that begins with `place` where the template asks for alternating messages and they are not.
ChatText write_chat(const ChatTemplate& chat_template, const ChatForm& form, Conversation conversation,
                    const std::string& end_of_text, bool ask, const std::string& place);

/// The piece that ends an answer: the last that is learned of one.
std::string answer_end(const ChatTemplate& chat_template, const std::string& end_of_text);

/// The form as one Jinja template, which `apply_chat_template` of `transformers` reads.
std::string jinja_of(const ChatTemplate& chat_template, const ChatForm& form, const std::string& end_of_text);

}  // namespace data
