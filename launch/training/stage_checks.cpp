#include "launch/training/stage_checks.h"

#include <map>
#include <memory>

#include "launch/batches/batches.h"
#include "launch/recipe/rules.h"
#include "launch/stages/seam.h"
#include "launch/training/setup.h"
#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace launch {

void check_stages(std::vector<PlannedStage>& stages, at::Device device, const parallel::Communicator& ranks) {
  std::map<std::string, std::unique_ptr<data::TokenMixture>> files;
  std::string tokenizer_hash;
  for (size_t i = 0; i < stages.size(); ++i) {
    PlannedStage& stage = stages[i];
    in_stage(stage.title, [&] {
      const Recipe& recipe = stage.recipe;
      std::unique_ptr<data::TokenMixture>& corpus = files[recipe.data.file];
      if (corpus == nullptr) {
        const auto verify = ranks.rank() == 0 ? data::Verify::kTokens : data::Verify::kIndexOnly;
        corpus = std::make_unique<data::TokenMixture>(
            data::TokenMixture::open(recipe.data.file, verify, recipe.registry->tokenizers));
      }
      if (tokenizer_hash.empty()) tokenizer_hash = corpus->tokenizer_hash();
      if (corpus->tokenizer_hash() != tokenizer_hash) {
        parallel::user_error("data.file = \"", recipe.data.file, "\" has another tokenizer (", corpus->tokenizer_hash(),
                             ") than that of the first stage (", tokenizer_hash,
                             "); legal: token files that one tokenizer has made");
      }
      const parallel::SpanScale scale = make_training_batches(*corpus, recipe, {.index = 0, .count = 1})->scale();
      check_lengths(recipe, scale);
      stage.updates = parallel::to_updates(recipe.train.length, scale);
      const bool recorded = i + 1 < stages.size() && records_use(stages[i + 1]);  // of its end
      if (recipe.evaluate.every.count > 0 || recorded) make_held_out_batches(*corpus, recipe, {.index = 0, .count = 1});
      check_teacher(recipe);
      if (!parallel::is_accelerator(device)) check_memory(recipe, stage.vocabulary, ranks.size(), ranks.rank());
    });
  }
}

}  // namespace launch
