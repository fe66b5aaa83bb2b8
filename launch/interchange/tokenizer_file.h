// moetrain's tokenizers as transformers loads them: tokenizer.json and tokenizer_config.json.
// defines: Merge, derive_merges, tokenizer_files, tokenizer_json, tokenizer_config_json
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace launch::interchange {

using Merge = std::pair<std::string, std::string>;

/// Every way to put a normal piece together from two others, in the order in which they are to be tried: by the
/// score of the result (highest first, then lowest token), then longest left part first.
/// A piece that only symbols outside the vocabulary could make is a UserError: merges cannot express it.
std::vector<Merge> derive_merges(const std::vector<data::Piece>& pieces);

/// What to write into the folder, by name: a model's own tokenizer as it came, byte by byte; of moetrain's own kinds
/// the two files below.
std::map<std::string, std::string> tokenizer_files(const data::Tokenizer& tokenizer, int64_t sequence_length,
                                                   const std::string& chat_template = {});

/// "sentencepiece": byte-pair encoding with byte fallback; "byte": the byte-level alphabet without merges.
/// Another kind, or a vocabulary without its 256 bytes, is a UserError.
std::string tokenizer_json(const data::Tokenizer& tokenizer);
/// `chat_template`: Jinja; empty: none.
std::string tokenizer_config_json(const data::Tokenizer& tokenizer, int64_t sequence_length,
                                  const std::string& chat_template = {});

}  // namespace launch::interchange
