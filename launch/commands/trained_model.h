// defines: TrainedModel, load_trained_model, load_newest_model: a run's newest checkpoint as a model that is ready to
// use
#pragma once
#include <filesystem>
#include <memory>

#include "data/datasets/token_corpus.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe.h"
#include "moetrain/models/decoder_lm.h"

namespace launch {

struct TrainedModel {
  Recipe recipe;
  CheckpointInfo info;
  data::TokenCorpus corpus;
  std::shared_ptr<moetrain::DecoderLm> model;
};

/// `update`: which checkpoint, as newest_update() gives it. `data_file`: the token file to use instead of the recipe's;
/// empty: the recipe's. UserError where the folder holds no run or no checkpoint, or the token file's tokenizer is
/// another one.
TrainedModel load_trained_model(const std::filesystem::path& run_folder, int64_t update, const std::string& data_file,
                                at::Device device);

/// The newest checkpoint of a run, on the CPU, for a command that runs once.
TrainedModel load_newest_model(const std::filesystem::path& run_folder);

}  // namespace launch
