// defines: report_phase, require_known_tokenizer, make_tokenizer, chat_controls, EncodedTexts, encode_texts,
// threads_each, note_changed, encode_all, describe, count_document: what `prepare` does alike with documents and with
// sentences
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/prepare/prepare.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

void report_phase(const PrepareOptions& options, const std::string& sentence);

/// UserError for a tokenizer that is no kind to be made here, and no folder or file of a model's own.
void require_known_tokenizer(const PrepareOptions& options);

/// The tokenizer that the options ask for, trained on `texts` where it is of a kind to be trained. UserError where a
/// model's own lacks one of the control pieces.
std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options,
                                                const std::vector<std::string_view>& texts,
                                                const std::vector<std::string>& controls = {});

/// The control pieces that the conversations' template writes and a tokenizer that is made has not anyway; of a model's
/// own tokenizer all of them.
std::vector<std::string> chat_controls(const PrepareOptions& options);

struct EncodedTexts {
  std::vector<std::vector<int32_t>> tokens;  // of each text
  int64_t changed = 0;                       // texts that their tokens do not give back
};

/// Those of a lossless tokenizer are checked to give back the text. `advance` is told the bytes of each text that is
/// done, by any of the threads.
EncodedTexts encode_texts(
    const std::vector<std::string_view>& texts, const Tokenizer& tokenizer, int64_t threads,
    const std::function<void(int64_t)>& advance = [](int64_t) {});

/// Of each member of the team, which share the cores.
int64_t threads_each(const PrepareOptions& options, const PrepareTeam& team);

/// Says how many of `texts` texts do not come back.
void note_changed(int64_t changed, int64_t texts, PrepareSummary& summary);

/// All of it, by one process.
std::vector<std::vector<int32_t>> encode_all(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                             const PrepareOptions& options, PrepareSummary& summary);

/// Fills in what the summary says of output and tokenizer.
void describe(const PrepareOptions& options, const Tokenizer& tokenizer, PrepareSummary& summary);

/// Adds a document to its split.
void count_document(GroupSummary& group, const DocumentInfo& info);

}  // namespace data
