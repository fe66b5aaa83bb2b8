// A model is changed and goes on: a run folder is made of one or several models that are there.
// defines: TransformOptions, Transformed, transform_run, describe_operations
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/surgery/operation.h"
#include "parallel/comm/communicator.h"

namespace launch {

struct TransformOptions {
  std::filesystem::path in, out;
  std::string operation;
  std::vector<std::string> settings = {};        // "key=value"
  std::vector<std::filesystem::path> with = {};  // further parents
  std::optional<int64_t> seed = {};              // nullopt: the parent's run.seed
  std::shared_ptr<const Registry> registry;
};

struct Transformed {
  int64_t bytes = 0;              // of the checkpoint
  int64_t total = 0, active = 0;  // parameters, of all and per token
};

/// Makes options.out of options.in, a run folder, a checkpoint or a Hugging Face folder, as make_run does: checkpoint
/// of update 0 without optimizer state, the parent's recipe with the changed [model] and [moe] on a layout of one,
/// tokenizer, files that the model came with. Streamed, whatever the layouts. Collective. UserError, before anything is
/// written: whatever the operation, the recipe's rules or make_run refuse; a key that it has not; tensors that the
/// changed recipe's model would not have.
Transformed transform_run(const TransformOptions& options, parallel::Communicator& group);

/// A paragraph for each operation: what it does, its keys, their defaults and what they may be.
std::string describe_operations(const parallel::NameTable<Operation>& operations);

}  // namespace launch
