// defines: EncodedDocument, encode_documents
#pragma once
#include <cstdint>
#include <vector>

#include "data/prepare/prepare.h"
#include "data/sources/document.h"

namespace data {

struct EncodedDocument {
  std::vector<int32_t> tokens;   // without the end of text behind it
  std::vector<uint8_t> learned;  // of a token file with conversations: of each token and the end; else none
  int64_t bytes = 0;             // of its text; of a conversation, of what is learned of it
};

/// Texts as encode_all gives them; conversations as their template writes them. UserError where the template does not
/// fit the tokenizer or a conversation.
std::vector<EncodedDocument> encode_documents(const std::vector<SourceDocument>& documents, const Tokenizer& tokenizer,
                                              const PrepareOptions& options, PrepareSummary& summary);

}  // namespace data
