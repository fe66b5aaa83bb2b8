#include "launch/batches/batches.h"

#include <ATen/ATen.h>

#include "launch/batches/document_batches.h"
#include "launch/batches/pair_batches.h"
#include "launch/batches/row_batches.h"
#include "launch/batches/window_batches.h"
#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace launch {
namespace {

moetrain::TokenSide moved(const moetrain::TokenSide& side, at::Device device) {
  moetrain::TokenSide there = side;
  there.ids_T = parallel::send(side.ids_T, device);
  there.value_TC = parallel::send(side.value_TC, device);
  there.sequences = moetrain::Sequences(side.sequences.lengths(), device);
  return there;
}

std::string reader_of(const Recipe& recipe) {
  if (recipe.data.packing != data::DocumentPacking::kStream) {
    return parallel::concat("data.packing = \"", recipe.data.packing, "\"");
  }
  return parallel::concat("model.kind = \"", recipe.model.kind, "\"");
}

}  // namespace

const at::Tensor& MicroBatch::groups_of(moetrain::Rows rows, moetrain::Side side) const {
  if (rows == moetrain::Rows::kSequences) return groups_S;
  return side == moetrain::Side::kSource ? source_groups_T : groups_T;
}

MicroBatch to_device(const MicroBatch& batch, at::Device device) {
  if (!parallel::is_accelerator(device)) return batch;
  MicroBatch there{.batch = {.inputs = {.tokens = moved(batch.batch.inputs.tokens, device)},
                             .targets_G = parallel::send(batch.batch.targets_G, device),
                             .predicts = batch.batch.predicts},
                   .groups_T = parallel::send(batch.groups_T, device)};
  there.batch.inputs.class_S = parallel::send(batch.batch.inputs.class_S, device);
  there.groups_S = parallel::send(batch.groups_S, device);
  if (!batch.batch.inputs.source) return there;
  there.batch.inputs.source = moved(*batch.batch.inputs.source, device);
  there.source_groups_T = parallel::send(batch.source_groups_T, device);
  return there;
}

int64_t counted_targets(const MicroBatch& batch, const parallel::Mesh& mesh) {
  const at::Tensor& targets_G = batch.batch.targets_G;
  const at::Tensor own_T = parallel::TokenParts(mesh.tensor(), targets_G.size(0)).own(targets_G);
  return (own_T != moetrain::OutputHead::kIgnored).sum().item<int64_t>();
}

at::Tensor counted_groups(const MicroBatch& batch, moetrain::Rows rows, moetrain::Side side,
                          const parallel::Mesh& mesh) {
  // Of a tensor group's rows each rank has its own.
  const auto own = [&](const at::Tensor& each) { return parallel::TokenParts(mesh.tensor(), each.size(0)).own(each); };
  const at::Tensor group_T = own(batch.groups_of(rows, side)).to(at::kLong);
  if (side != moetrain::Side::kTokens || rows != batch.batch.predicts) return group_T;
  return group_T.masked_fill(own(batch.batch.targets_G) == moetrain::OutputHead::kIgnored, -1);
}

std::string describe(const SourceTokens& source) {
  const double passes = static_cast<double>(source.read) / static_cast<double>(source.there);
  return parallel::concat(source.name, ": ", source.read, " tokens, ", passes, " passes over it");
}

std::unique_ptr<TrainingBatches> make_training_batches(const data::TokenMixture& mixture, const Recipe& recipe,
                                                       data::Shard shard) {
  const auto one = [&]() -> const data::TokenCorpus& { return mixture.only(reader_of(recipe)); };
  switch (recipe.model_preset().reads) {
    case moetrain::Reads::kPairs:
      return std::make_unique<PairBatches>(one(), recipe, shard);
    case moetrain::Reads::kDocuments:
    case moetrain::Reads::kImages:
      return std::make_unique<DocumentBatches>(one(), recipe, shard);
    case moetrain::Reads::kText:
      break;
  }
  if (recipe.data.packing != data::DocumentPacking::kStream) {
    return std::make_unique<RowBatches>(one(), recipe, shard);
  }
  return std::make_unique<WindowBatches>(mixture, recipe, shard);
}

std::unique_ptr<HeldOutBatches> make_held_out_batches(const data::TokenMixture& mixture, const Recipe& recipe,
                                                      data::Shard shard) {
  const auto one = [&]() -> const data::TokenCorpus& { return mixture.only(reader_of(recipe)); };
  switch (recipe.model_preset().reads) {
    case moetrain::Reads::kPairs:
      return std::make_unique<HeldOutPairs>(one(), recipe, shard);
    case moetrain::Reads::kDocuments:
    case moetrain::Reads::kImages:
      return std::make_unique<HeldOutDocuments>(one(), recipe, shard);
    case moetrain::Reads::kText:
      break;
  }
  if (recipe.data.packing != data::DocumentPacking::kStream) {
    return std::make_unique<HeldOutRows>(one(), recipe, shard);
  }
  return std::make_unique<HeldOutWindows>(mixture, recipe, shard);
}

}  // namespace launch
