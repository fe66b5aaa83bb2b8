// defines: TokenFile, parse_token_files, TokenMixture: several token files as one text, drawn from by weight
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"

namespace data {

/// A file of data.file and its weight: how many sequences are drawn from it, in proportion to the others.
struct TokenFile {
  std::string path;
  double weight = 1;  // above 0
};

/// One file's name, whole where it has no comma; or several, each with its weight: "work/a.h5:3,work/b.h5:1" (without
/// ":", 1). UserError for a weight that is no number above 0, a name that is missing and one that comes twice.
std::vector<TokenFile> parse_token_files(const std::string& text);
/// What parse_token_files reads.
std::string token_files_text(const std::vector<TokenFile>& files);

/// The token files of data.file, which share a tokenizer. Cheap to copy; a mixture of one file is that file.
class TokenMixture {
 public:
  /// UserError where a file cannot be opened (TokenCorpus::open), or was made with another tokenizer than the first.
  static TokenMixture open(const std::string& files, Verify verify = Verify::kTokens,
                           const TokenizerTable& tokenizers = builtin_tokenizers());
  TokenMixture(TokenCorpus only);  // NOLINT: a corpus is a mixture

  struct Source {
    std::string name;  // the file's, without folder and ending; as it was given where two would be alike
    TokenFile file;
    TokenCorpus corpus;
    int64_t first_group = 0;  // in groups()
  };
  const std::vector<Source>& sources() const { return sources_; }
  /// For those who read one file. UserError where there are more; `reader`: what that is, for the message.
  const TokenCorpus& only(const std::string& reader) const;

  /// A file's groups; of several files each one's in turn, named "SOURCE/GROUP", or "SOURCE" where it has one.
  const std::vector<std::string>& groups() const { return groups_; }

  const Tokenizer& tokenizer() const { return sources_.front().corpus.tokenizer(); }
  std::shared_ptr<const Tokenizer> shared_tokenizer() const { return sources_.front().corpus.shared_tokenizer(); }
  /// Of the first file that has conversations.
  std::optional<ChatForm> chat() const;
  const std::string& tokenizer_hash() const { return sources_.front().corpus.tokenizer_hash(); }
  /// Changes with any file's, with their order and their weights: a data position counts in one such mixture.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  explicit TokenMixture(std::vector<Source> sources);

  std::vector<Source> sources_;  // at least one
  std::vector<std::string> groups_;
  std::string fingerprint_;
};

}  // namespace data
