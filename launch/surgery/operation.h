// What an operation (launch/recipe/registry.h) is given and makes.
// defines: Standing, Parent, parent_of, weights_of, Offspring, NoKeys, check_offspring and the operations
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/planning/parameter_table.h"
#include "launch/recipe/recipe.h"
#include "launch/runs/start_point.h"
#include "launch/surgery/made_tensor.h"

namespace launch {

struct ExpertUse;  // launch/use/expert_use.h

/// Where a parent's weights are: at hand; or shapes alone, while a run of stages is planned: those that the run starts
/// from, or those that a stage will end in.
enum class Standing { kHere, kStart, kLater };

/// A model that is there, or will be.
struct Parent {
  std::string place;  // the path that the user gave
  Recipe recipe;      // model.vocabulary: rows of its embedding
  std::string tokenizer_hash;
  std::shared_ptr<const StoredWeights> weights;
  Standing standing = Standing::kHere;
  std::shared_ptr<const ExpertUse> use = {};  // of its experts, recorded at a seam between stages; null: it was not
};

/// The model at `path`, opened as `start`. seed: in place of its run.seed.
Parent parent_of(const std::filesystem::path& path, const StartPoint& start, const std::optional<int64_t>& seed);

std::vector<const StoredWeights*> weights_of(const std::vector<Parent>& parents);

/// The model that is made of it: recipe and, of each tensor, of what.
struct Offspring {
  Recipe recipe;
  std::vector<MadeTensor> tensors;
};

/// Of an operation that is told nothing.
struct NoKeys {};

template <class Visitor>
void visit(NoKeys&, Visitor&) {}

/// What its model counts. UserError: tensors that the changed recipe's model would not have, or lacks; what no parent
/// has.
ParameterTable check_offspring(const Offspring& made, const std::vector<Parent>& parents);

// One file each.
Operation copy_operation();
Operation select_operation();
Operation prune_operation();
Operation grow_operation();
Operation add_null_operation();
Operation narrow_operation();
Operation share_operation();
Operation separate_operation();
Operation widen_vocabulary_operation();
Operation concatenate_operation();
Operation average_operation();

}  // namespace launch
