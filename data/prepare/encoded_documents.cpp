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

std::vector<EncodedDocument> encode_documents(const std::vector<SourceDocument>& documents, const Tokenizer& tokenizer,
                                              const PrepareOptions& options, PrepareSummary& summary) {
  const bool chat = !options.chat.name.empty();
  if (chat) require_chat_controls(tokenizer, options.chat, options.chat_templates.at(options.chat.name));
  std::vector<std::string_view> texts;
  std::vector<size_t> places;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (!documents[i].messages.empty()) continue;
    texts.push_back(documents[i].text);
    places.push_back(i);
  }
  auto tokens = encode_all(texts, tokenizer, options, summary);
  std::vector<EncodedDocument> encoded(documents.size());
  for (size_t i = 0; i < places.size(); ++i) {
    EncodedDocument& each = encoded[places[i]];
    each = {.tokens = std::move(tokens[i]), .bytes = static_cast<int64_t>(texts[i].size())};
    if (chat) each.learned.assign(each.tokens.size() + 1, 1);
  }
  const std::string end_piece = tokenizer.piece(tokenizer.end_of_text()).text;
  for_each_index(static_cast<int64_t>(documents.size()), options.threads, [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    if (documents[i].messages.empty()) return;
    encoded[i] = encode_conversation(documents[i], tokenizer, options, end_piece);
  });
  return encoded;
}

}  // namespace data
