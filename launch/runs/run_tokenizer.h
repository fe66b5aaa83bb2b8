// The tokenizer of a run, kept in its folder: a folder that moved alone still reads and writes text.
// defines: keep_tokenizer, read_tokenizer
#pragma once
#include <memory>
#include <string>

#include "data/tokenizers/tokenizer.h"
#include "launch/runs/run_folder.h"

namespace launch {

/// Writes the tokenizer's file of the folder, unless it is there and whole.
void keep_tokenizer(const RunFolder& folder, const data::Tokenizer& tokenizer);

/// Null where an older run has none. UserError for a file that is not of the tokenizer with this hash.
std::shared_ptr<const data::Tokenizer> read_tokenizer(const RunFolder& folder, const std::string& tokenizer_hash,
                                                      const data::TokenizerTable& tokenizers);

}  // namespace launch
