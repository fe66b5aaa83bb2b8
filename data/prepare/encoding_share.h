// defines: EncodingShare: the documents of a token file, encoded by a team in stretches that are kept
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/prepare/encoded_documents.h"
#include "data/prepare/parts.h"
#include "data/prepare/team.h"

namespace data {

/// The first one says what is to be encoded; then each encodes its stretches, those left out that are there; then the
/// first one has the tokens. Stretches are known by tokenizer, chat template and texts, so that what was encoded stays
/// of use whatever else has changed.
class EncodingShare {
 public:
  EncodingShare(const PrepareOptions& options, const PartsFolder& parts, const PrepareTeam& team)
      : options_(options), parts_(parts), team_(team) {}

  /// Of the first one. The documents stay where they are until encode() is over.
  void plan(const std::vector<SourceDocument>& documents, std::shared_ptr<const Tokenizer> tokenizer);
  /// Of all, after the first one's plan.
  void encode() const;
  /// Of the first one, after all have encoded.
  EncodedDocuments encoded() const;

 private:
  struct Stretch {
    std::string key;
    std::vector<const SourceDocument*> documents;
    int64_t bytes = 0;
  };
  void write_plan() const;
  void encode_planned() const;
  std::vector<size_t> unfinished() const;
  /// One that is to be encoded.
  struct Left {
    size_t stretch = 0;
    std::string key;
    int64_t bytes = 0;
    std::vector<const SourceDocument*> documents;  // none: they lie in a part
  };
  /// Long ones, of a text that fills them alone, one after another by all threads, the others by a thread each.
  void encode_all_of(const std::vector<Left>& all, const Tokenizer& tokenizer,
                     const std::function<void(int64_t)>& advance) const;
  void encode_stretch(const Left& left, const Tokenizer& tokenizer, int64_t threads,
                      const std::function<void(int64_t)>& advance) const;

  const PrepareOptions& options_;
  const PartsFolder& parts_;
  const PrepareTeam& team_;
  std::shared_ptr<const Tokenizer> tokenizer_;  // of the first one
  std::vector<Stretch> stretches_;
};

}  // namespace data
