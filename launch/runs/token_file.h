// defines: open_token_file, model_vocabulary: the text of a run, wherever it is now
#pragma once
#include <filesystem>
#include <string>

#include "data/datasets/token_mixture.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe.h"

namespace launch {

/// `named`: what to take instead of data.file, whatever its text; empty: the recipe's. That is looked for as data.file
/// names it, then beside and in the run folder, which may have moved together with it; there only the very text of
/// training is taken. Of several files all lie at the same kind of place. UserError where there is none, or where its
/// tokenizer is not the one that the run was trained with.
data::TokenMixture open_token_file(const std::filesystem::path& run_folder, const Recipe& recipe,
                                   const CheckpointInfo& info, const std::string& named, data::Verify verify);

/// Rows of a model's embedding: model.vocabulary, or as many as the tokenizer has tokens. UserError where it has more
/// tokens than rows.
int64_t model_vocabulary(const Recipe& recipe, const data::Tokenizer& tokenizer);

}  // namespace launch
