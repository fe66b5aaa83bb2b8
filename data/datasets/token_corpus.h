// The token file: documents as tokens, with group and split of each, and the tokenizer that made them.
// defines: Verify, DocumentInfo, TokenCorpus, tokenizer_hash
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat/chat_template.h"
#include "data/datasets/split.h"
#include "data/datasets/token_stream.h"
#include "data/images/image.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

/// What is checked when a token file is opened. Everything but the tokens is always checked; kTokens also reads them
/// all once (checksum and range), about 3 s per GB that is in memory already. One rank may verify and the others trust
/// it.
enum class Verify { kTokens, kIndexOnly };

/// What is known of a document besides its text.
struct DocumentInfo {
  std::string name;   // for people: where it came from
  int32_t group = 0;  // index into groups()
  Split split = Split::kTrain;
  int64_t bytes = 0;   // of text; of a conversation, of what is learned
  int64_t tokens = 0;  // end_of_text included
};

struct CorpusContents;

/// A token file opened for reading; cheap to copy, and the streams made from it may outlive it.
class TokenCorpus {
 public:
  /// UserError for a file that is missing, foreign, truncated, damaged or inconsistent, naming file and dataset.
  static TokenCorpus open(const std::filesystem::path& path, Verify verify = Verify::kTokens,
                          const TokenizerTable& tokenizers = builtin_tokenizers());

  const Tokenizer& tokenizer() const;
  std::shared_ptr<const Tokenizer> shared_tokenizer() const;
  /// 16 hexadecimal digits that change with kind or content of the tokenizer: what a checkpoint stores.
  const std::string& tokenizer_hash() const;
  /// Changes with the tokens, their documents, their split or their alignment: a data position counts in one such
  /// corpus.
  const std::string& fingerprint() const;
  const std::vector<std::string>& groups() const;  // languages, for example

  /// Where the documents are images; nothing where they are text.
  const std::optional<ImageShape>& image() const;

  /// Where there are conversations: what they were written by. Only what is said in answer is a target then.
  const std::optional<ChatForm>& chat() const;

  int64_t documents() const;
  DocumentInfo document(int64_t index) const;      // UserError outside [0, documents())
  std::string document_text(int64_t index) const;  // UserError outside [0, documents())
  TokenStream stream(Split split) const;
  /// Of one group's documents.
  TokenStream stream(Split split, int64_t group) const;
  /// Numbers of the split's documents, ascending.
  std::vector<int64_t> documents_of(Split split) const;
  /// UserError for a split that has none.
  void require_documents(Split split) const;

  /// Rows of documents that are translations of each other; 0 for a file without an alignment.
  int64_t aligned_rows() const;
  int64_t aligned_rows(Split split) const;
  /// The document of a row in a group; -1 where it has none. UserError for a row or group outside.
  int64_t aligned_document(int64_t row, int64_t group) const;

  /// For the readers of this room.
  const std::shared_ptr<const CorpusContents>& shared_contents() const { return contents_; }

 private:
  explicit TokenCorpus(std::shared_ptr<const CorpusContents> contents) : contents_(std::move(contents)) {}
  std::shared_ptr<const CorpusContents> contents_;
};

/// Of the tokenizer's kind and serialized form.
std::string tokenizer_hash(const Tokenizer& tokenizer);

}  // namespace data
