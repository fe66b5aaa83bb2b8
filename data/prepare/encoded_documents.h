// defines: EncodedDocument, EncodedDocuments, encode_documents, require_chat
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "data/prepare/prepare.h"
#include "data/sources/document.h"

namespace data {

struct EncodedDocument {
  std::vector<int32_t> tokens;   // without the end of text behind it
  std::vector<uint8_t> learned;  // of a token file with conversations: of each token and the end; else none
  int64_t bytes = 0;             // of its text; of a conversation, of what is learned of it
};

struct EncodedDocuments {
  std::vector<EncodedDocument> documents;
  int64_t changed = 0;  // texts that their tokens do not give back
};

/// Texts as encode_texts gives them; conversations as their template writes them. UserError where that does not fit a
/// conversation.
EncodedDocuments encode_documents(const std::vector<const SourceDocument*>& documents, const Tokenizer& tokenizer,
                                  const PrepareOptions& options, int64_t threads,
                                  const std::function<void(int64_t)>& advance);

/// UserError where the conversations' template does not fit the tokenizer.
void require_chat(const PrepareOptions& options, const Tokenizer& tokenizer);

}  // namespace data
