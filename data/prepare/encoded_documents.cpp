#include "data/prepare/encoded_documents.h"

#include <string_view>
#include <utility>

#include "data/chat/encoded_chat.h"
#include "data/prepare/encoding.h"
#include "data/sources/workers.h"

namespace data {
namespace {

/// The end of text that closes a document stands for the one that its template wrote at the end, if it did.
void close(EncodedDocument& document, int64_t end_of_text) {
  if (document.tokens.empty() || document.tokens.back() != end_of_text) {
    document.learned.push_back(0);
  } else {
    document.tokens.pop_back();
  }
}

EncodedDocument encode_conversation(const SourceDocument& document, const Tokenizer& tokenizer,
                                    const PrepareOptions& options, const std::string& end_piece) {
  const ChatText chat = write_chat(options.chat_templates.at(options.chat.name), options.chat, document.messages,
                                   end_piece, /*ask=*/false, document.name);
  EncodedChat tokens = encode_chat(tokenizer, chat);
  EncodedDocument encoded{.tokens = std::move(tokens.tokens), .learned = std::move(tokens.learned)};
  close(encoded, tokenizer.end_of_text());
  for (const ChatMessage& message : document.messages) {
    if (message.learned) encoded.bytes += static_cast<int64_t>(message.content.size());
  }
  return encoded;
}

}  // namespace

EncodedDocuments encode_documents(const std::vector<const SourceDocument*>& documents, const Tokenizer& tokenizer,
                                  const PrepareOptions& options, int64_t threads,
                                  const std::function<void(int64_t)>& advance) {
  std::vector<std::string_view> texts;
  std::vector<size_t> of_text, of_chat;
  for (size_t i = 0; i < documents.size(); ++i) {
    (documents[i]->messages.empty() ? of_text : of_chat).push_back(i);
    if (documents[i]->messages.empty()) texts.push_back(documents[i]->text);
  }
  EncodedTexts encoded = encode_texts(texts, tokenizer, threads, advance);
  EncodedDocuments all{.documents = std::vector<EncodedDocument>(documents.size()), .changed = encoded.changed};
  for (size_t t = 0; t < of_text.size(); ++t) {
    EncodedDocument& each = all.documents[of_text[t]];
    each = {.tokens = std::move(encoded.tokens[t]), .bytes = static_cast<int64_t>(texts[t].size())};
    if (!options.chat.name.empty()) each.learned.assign(each.tokens.size() + 1, 1);
  }
  const std::string end_piece = tokenizer.piece(tokenizer.end_of_text()).text;
  for_each_index(static_cast<int64_t>(of_chat.size()), threads, [&](int64_t index) {
    const SourceDocument& document = *documents[of_chat[static_cast<size_t>(index)]];
    all.documents[of_chat[static_cast<size_t>(index)]] = encode_conversation(document, tokenizer, options, end_piece);
    advance(static_cast<int64_t>(document.text.size()));
  });
  return all;
}

void require_chat(const PrepareOptions& options, const Tokenizer& tokenizer) {
  if (options.chat.name.empty()) return;
  require_chat_controls(tokenizer, options.chat, options.chat_templates.at(options.chat.name));
}

}  // namespace data
