#include "launch/batches/row_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "data/batching/sequence_sampler.h"
#include "data/batching/text_parts.h"
#include "parallel/base/fault.h"

namespace launch {

PackedDocuments::PackedDocuments(const data::TokenCorpus& corpus, const Recipe& recipe, data::Split split)
    : documents_(corpus, split, recipe.data.sequence_length),
      rows_(documents_.lengths(), recipe.data.sequence_length),
      joined_(recipe.data.packing == data::DocumentPacking::kJoined) {
  const std::vector<std::string> names = data::task_names(recipe.tasks);
  if (names.empty()) return;
  const bool training = split == data::Split::kTrain;
  task_of_group_ =
      data::tasks_of_groups(corpus, names, training ? data::AbsentTask::kRefused : data::AbsentTask::kPassedOver);
  for (int64_t i = 0; i < documents_.size(); ++i) {
    const auto group = static_cast<size_t>(documents_.group(i));
    if (task_of_group_[group] >= 0) continue;
    parallel::user_error("data.packing = \"documents\" reads all documents, and those of the group '",
                         corpus.groups()[group], "' are of none of tasks.names = \"", recipe.tasks.names,
                         "\"; legal: that group among the tasks, or packing = \"stream\"");
  }
}

PackedDocuments::Place PackedDocuments::size_of(int64_t row) const {
  return {joined_ ? 1 : static_cast<int64_t>(rows_.row(row).size()), rows_.tokens(row)};
}

MicroBatch PackedDocuments::batch(const std::vector<int64_t>& all, data::Shard shard, const Place& before) const {
  const data::IndexRange own = data::split_range(static_cast<int64_t>(all.size()), shard);
  std::vector<int64_t> tokens, targets, lengths, of_document, groups;
  Place world, first = before;
  int64_t longest = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
    const int64_t row = all[static_cast<size_t>(i)];
    const Place size = size_of(row);
    world = {world.sequences + size.sequences, world.tokens + size.tokens};
    if (i < own.begin) first = {first.sequences + size.sequences, first.tokens + size.tokens};
    for (const int64_t document : rows_.row(row)) {
      longest = std::max(longest, joined_ ? size.tokens : documents_.length(document));
      if (i < own.begin || i >= own.end) continue;
      documents_.append(document, tokens, targets);
      of_document.push_back(documents_.length(document));
      groups.push_back(documents_.group(document));
    }
    if (joined_ && i >= own.begin && i < own.end) lengths.push_back(size.tokens);
  }
  const at::Tensor group_D = at::tensor(groups, at::kLong);
  const at::Tensor task_D =
      task_of_group_.empty() ? at::Tensor() : at::tensor(task_of_group_, at::kLong).index_select(0, group_D);
  return {.batch = {.inputs = {.tokens = {.ids_T = at::tensor(tokens, at::kLong),
                                          .sequences = {joined_ ? lengths : of_document, at::kCPU},
                                          .global_tokens = world.tokens,
                                          .first_token = first.tokens,
                                          .global_sequences = world.sequences,
                                          .first_sequence = first.sequences,
                                          .longest = longest,
                                          .task_S = task_D}},
                    .targets_G = at::tensor(targets, at::kLong)},
          .groups_T = at::repeat_interleave(group_D, at::tensor(of_document, at::kLong)),
          .groups_S = joined_ ? at::Tensor() : group_D};
}

RowBatches::RowBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : packed_(corpus, recipe, data::Split::kTrain),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      capacity_(recipe.data.sequence_length),
      micro_batches_(recipe.train.micro_batches),
      micro_rows_(recipe.train.global_batch / recipe.train.micro_batches) {}

parallel::SpanScale RowBatches::scale() const {
  const int64_t all = packed_.documents().tokens(), rows = packed_.rows();
  // Rounded up: so many epochs are then no update more than their rows need.
  return {.tokens_per_update = (all * micro_batches_ * micro_rows_ + rows - 1) / rows, .tokens_per_epoch = all};
}

std::string RowBatches::left_out() const {
  const data::TargetDocuments& documents = packed_.documents();
  std::string text = parallel::concat(documents.size(), " documents in ", packed_.rows(), " rows, which are ",
                                      documents.tokens() * 100 / (packed_.rows() * capacity_), " % full");
  if (documents.cut() > 0) {
    text += parallel::concat("; ", documents.cut(), " are longer than data.sequence_length = ", capacity_,
                             " tokens, and their beginnings are read");
  }
  if (documents.left_out() > 0) {
    text += parallel::concat("; ", documents.left_out(), " more have nothing to learn within that and are left out");
  }
  return text;
}

std::vector<MicroBatch> RowBatches::read(int64_t update) const {
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const int64_t first = (update * micro_batches_ + m) * micro_rows_;
    batches.push_back(packed_.batch(data::items_at(seed_, first, micro_rows_, packed_.rows()), shard_, {}));
  }
  return batches;
}

HeldOutRows::HeldOutRows(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : packed_(corpus, recipe, data::Split::kHeldOut),
      names_(corpus.groups()),
      shard_(shard),
      batch_(recipe.evaluate.batch) {
  PackedDocuments::Place place;
  for (int64_t row = 0; row < packed_.rows(); ++row) {
    if (row % batch_ == 0) places_.push_back(place);
    const PackedDocuments::Place size = packed_.size_of(row);
    place = {place.sequences + size.sequences, place.tokens + size.tokens};
  }
}

int64_t HeldOutRows::count() const { return static_cast<int64_t>(places_.size()); }

MicroBatch HeldOutRows::read(int64_t index) const {
  const int64_t begin = index * batch_;
  std::vector<int64_t> all(static_cast<size_t>(std::min(batch_, packed_.rows() - begin)));
  std::iota(all.begin(), all.end(), begin);
  return packed_.batch(all, shard_, places_[static_cast<size_t>(index)]);
}

std::vector<HeldOutGroup> HeldOutRows::groups() const {
  std::vector<HeldOutGroup> all;
  for (const std::string& name : names_) all.push_back({name, 0});
  const data::TargetDocuments& documents = packed_.documents();
  for (int64_t i = 0; i < documents.size(); ++i) {
    all[static_cast<size_t>(documents.group(i))].bytes += documents.bytes(i);
  }
  return all;
}

}  // namespace launch
