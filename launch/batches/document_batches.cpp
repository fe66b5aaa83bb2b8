#include "launch/batches/document_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "data/batching/sequence_sampler.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// What lies before some documents.
struct DocumentPlace {
  int64_t documents = 0, tokens = 0;
};

/// This rank's part of the documents `all`.
MicroBatch document_batch(const data::DocumentSet& documents, const std::vector<int64_t>& all, data::Shard shard,
                          const DocumentPlace& before) {
  const data::IndexRange own = data::split_range(static_cast<int64_t>(all.size()), shard);
  std::vector<int64_t> tokens, lengths, groups;
  int64_t world = 0, earlier = 0, longest = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
    const int64_t document = all[static_cast<size_t>(i)], length = documents.length(document);
    world += length;
    longest = std::max(longest, length);
    if (i < own.begin) earlier += length;
    if (i < own.begin || i >= own.end) continue;
    documents.append(document, tokens);
    lengths.push_back(length);
    groups.push_back(documents.group(document));
  }
  const at::Tensor group_S = at::tensor(groups, at::kLong);
  return {.batch = {.inputs = {.tokens = {.ids_T = at::tensor(tokens, at::kLong),
                                          .sequences = {lengths, at::kCPU},
                                          .global_tokens = world,
                                          .first_token = before.tokens + earlier,
                                          .global_sequences = static_cast<int64_t>(all.size()),
                                          .first_sequence = before.documents + own.begin,
                                          .longest = longest}},
                    .targets_G = group_S,
                    .predicts = moetrain::Rows::kSequences},
          .groups_T = at::repeat_interleave(group_S, at::tensor(lengths, at::kLong)),
          .groups_S = group_S};
}

/// The same of images: patches, and the class that they are asked for by.
MicroBatch image_batch(const data::DocumentSet& images, const std::vector<int64_t>& all, data::Shard shard,
                       int64_t images_before, const moetrain::PatchGrid& grid) {
  const data::IndexRange own = data::split_range(static_cast<int64_t>(all.size()), shard);
  std::vector<int64_t> bytes, groups;
  for (int64_t i = own.begin; i < own.end; ++i) {
    const int64_t image = all[static_cast<size_t>(i)];
    images.append(image, bytes);
    bytes.pop_back();  // its end
    groups.push_back(images.group(image));
  }
  const at::Tensor pixel = at::tensor(bytes, at::kLong).to(at::kFloat).div_(127.5).sub_(1.0);  // in [-1, 1]
  const int64_t patches = grid.patches(), first = images_before + own.begin;
  const auto sequences = static_cast<int64_t>(all.size());
  const at::Tensor class_S = at::tensor(groups, at::kLong);
  const at::Tensor class_G = class_S.repeat_interleave(patches);
  return {.batch = {.inputs = {.tokens = {.value_TC = moetrain::patches_of(pixel, grid),
                                          .sequences = moetrain::Sequences::uniform(class_S.size(0), patches, at::kCPU),
                                          .global_tokens = sequences * patches,
                                          .first_token = first * patches,
                                          .global_sequences = sequences,
                                          .first_sequence = first,
                                          .longest = patches},
                               .class_S = class_S},
                    .targets_G = class_G},
          .groups_T = class_G,
          .groups_S = class_S};
}

void check_image(const data::TokenCorpus& corpus, const Recipe& recipe, const moetrain::PatchGrid& grid) {
  const data::ImageShape wanted{grid.height, grid.width, grid.channels};
  if (!corpus.image()) {
    parallel::user_error(recipe.data.file, ": holds no images; prepare them with --images");
  }
  if (*corpus.image() != wanted) {
    parallel::user_error(recipe.data.file, ": its images are ", corpus.image()->text(),
                         " (height, width, channels), and [model.", recipe.model.kind, "] says ", wanted.text(),
                         "; legal: the file's");
  }
}

data::DocumentSet documents_of(const data::TokenCorpus& corpus, const Recipe& recipe, data::Split split) {
  const moetrain::DocumentShape wanted = recipe.documents();
  if (wanted.images) check_image(corpus, recipe, *wanted.images);
  const std::vector<std::string>& groups = corpus.groups();
  if (static_cast<int64_t>(groups.size()) != wanted.classes) {
    parallel::user_error(recipe.data.file, " has ", groups.size(), " groups (", parallel::list_names(groups),
                         "), and model.", recipe.model.kind, ".classes is ", wanted.classes,
                         "; legal: classes = ", groups.size(),
                         groups.size() < 2 ? ", which a file must have at least 2 for" : "");
  }
  return {corpus, split, wanted.images ? corpus.image()->bytes() + 1 : recipe.data.longest};
}

MicroBatch micro_batch(const data::DocumentSet& documents, const std::vector<int64_t>& all, data::Shard shard,
                       const DocumentPlace& before, const std::optional<moetrain::PatchGrid>& images) {
  return images ? image_batch(documents, all, shard, before.documents, *images)
                : document_batch(documents, all, shard, before);
}

}  // namespace

DocumentBatches::DocumentBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : documents_(documents_of(corpus, recipe, data::Split::kTrain)),
      images_(recipe.documents().images),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      longest_(recipe.data.longest),
      micro_batches_(recipe.train.micro_batches),
      micro_sequences_(recipe.train.global_batch / recipe.train.micro_batches) {}

parallel::SpanScale DocumentBatches::scale() const {
  const int64_t all = images_ ? documents_.size() * images_->patches() : documents_.tokens();
  return {.tokens_per_update = std::max<int64_t>(1, all * micro_batches_ * micro_sequences_ / documents_.size()),
          .tokens_per_epoch = all};
}

std::string DocumentBatches::left_out() const {
  if (documents_.cut() == 0) return {};
  return parallel::concat(documents_.cut(), " of ", documents_.size(),
                          " documents are longer than data.longest = ", longest_, " tokens; their beginnings are read");
}

std::vector<MicroBatch> DocumentBatches::read(int64_t update) const {
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const int64_t first = (update * micro_batches_ + m) * micro_sequences_;
    const std::vector<int64_t> all = data::items_at(seed_, first, micro_sequences_, documents_.size());
    batches.push_back(micro_batch(documents_, all, shard_, {}, images_));
  }
  return batches;
}

HeldOutDocuments::HeldOutDocuments(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : documents_(documents_of(corpus, recipe, data::Split::kHeldOut)),
      images_(recipe.documents().images),
      shard_(shard),
      batch_(recipe.evaluate.batch) {
  starts_.push_back(0);
  for (int64_t i = 0; i < documents_.size(); ++i) starts_.push_back(starts_.back() + documents_.length(i));
}

int64_t HeldOutDocuments::count() const { return (documents_.size() + batch_ - 1) / batch_; }

MicroBatch HeldOutDocuments::read(int64_t index) const {
  const int64_t begin = index * batch_;
  std::vector<int64_t> all(static_cast<size_t>(std::min(batch_, documents_.size() - begin)));
  std::iota(all.begin(), all.end(), begin);
  return micro_batch(documents_, all, shard_, {begin, starts_[static_cast<size_t>(begin)]}, images_);
}

std::vector<HeldOutGroup> HeldOutDocuments::groups() const {
  std::vector<HeldOutGroup> all;
  for (const std::string& name : documents_.corpus().groups()) all.push_back({name, 0});
  return all;
}

}  // namespace launch
