#include "launch/runs/new_run.h"

#include <optional>

#include "data/datasets/token_corpus.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/runs/build_id.h"
#include "launch/runs/run_chat.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_lock.h"
#include "launch/runs/run_tokenizer.h"
#include "launch/runs/start_point.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

/// Before anything is made, with both numbers.
void check_room(const fs::path& run, const std::vector<StreamedTensor>& tensors) {
  double needed = 0;
  for (const StreamedTensor& tensor : tensors) {
    double bytes = static_cast<double>(c10::elementSize(tensor.type));
    for (const int64_t dim : tensor.shape) bytes *= static_cast<double>(dim);
    needed += bytes;
  }
  std::error_code error;
  fs::path there = fs::absolute(run).lexically_normal();
  while (!there.empty() && !fs::exists(there, error) && there != there.parent_path()) there = there.parent_path();
  const auto room = static_cast<double>(fs::space(there, error).available);
  if (error || needed <= room) return;
  parallel::user_error("the checkpoint takes ", needed / 1e9, " GB, and the disk of ", run.string(), " has ",
                       room / 1e9, " GB left");
}

}  // namespace

void NewRun::keep_tokenizer(std::shared_ptr<const data::Tokenizer> kept) {
  tokenizer = std::move(kept);
  tokenizer_hash = tokenizer != nullptr ? data::tokenizer_hash(*tokenizer) : "";
}

int64_t make_run(const fs::path& folder, const std::function<NewRun()>& prepare, parallel::Communicator& group) {
  const RunFolder run{folder};
  std::optional<NewRun> made;
  std::unique_ptr<RunLock> lock;  // on rank 0
  parallel::all_ranks(group, [&] {
    made = prepare();
    made->recipe.run.folder = folder.string();
    check_rules(made->recipe);
    if (group.rank() != 0) return;
    check_room(folder, made->tensors);
    lock = std::make_unique<RunLock>(folder);
    check_run_folder(run, made->recipe, /*resume=*/false);
  });
  const CheckpointInfo info{.vocabulary = made->recipe.model.vocabulary,
                            .tokenizer_hash = made->tokenizer_hash,
                            .corpus = "",
                            .recipe = write_recipe(made->recipe),
                            .plan = "",
                            .build = build_id()};
  // What a checkpoint is read by comes first: a folder with a checkpoint is a run.
  parallel::all_ranks(group, [&] {
    if (group.rank() != 0) return;
    keep_came_with(folder, made->came_with);
    if (made->tokenizer != nullptr) keep_tokenizer(run, *made->tokenizer);
    keep_chat(run, made->chat);
    write_file(run.recipe(), info.recipe);
  });
  return stream_checkpoint(checkpoint_path(folder, 0), info, made->tensors, group);
}

}  // namespace launch
