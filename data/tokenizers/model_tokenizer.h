// defines: read_model_tokenizer
#pragma once
#include <filesystem>
#include <memory>

#include "data/tokenizers/tokenizer.h"

namespace data {

/// A model's own tokenizer: of a folder its tokenizer.json, else its SentencePiece model; or one such file by whatever
/// name, with what lies beside it. UserError for one that is missing, larger than any tokenizer is, or cannot be used.
std::shared_ptr<const Tokenizer> read_model_tokenizer(const std::filesystem::path& path);

}  // namespace data
