// defines: report_phase, make_tokenizer, encode_all, describe, count_document: what `prepare` does alike with documents
// and with sentences
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/prepare/prepare.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

void report_phase(const PrepareOptions& options, const std::string& sentence);

/// The tokenizer that the options ask for, trained on `texts` where it is of a kind to be trained.
std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options,
                                                const std::vector<std::string_view>& texts,
                                                const std::vector<std::string>& controls = {});

/// The tokens of each text, which are checked to give back the text.
std::vector<std::vector<int32_t>> encode_all(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                             int64_t threads);

/// Fills in what the summary says of output and tokenizer.
void describe(const PrepareOptions& options, const Tokenizer& tokenizer, PrepareSummary& summary);

/// Adds a document to its split.
void count_document(GroupSummary& group, const DocumentInfo& info);

}  // namespace data
