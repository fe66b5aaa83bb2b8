// What can be done to a model's weights, as rows of a table.
// defines: Parent, Offspring, Operation, builtin_operations
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"
#include "launch/surgery/made_tensor.h"
#include "parallel/base/name_table.h"
#include "parallel/base/own_keys.h"

namespace launch {

/// A model that is there.
struct Parent {
  std::string place;  // the path that the user gave
  Recipe recipe;      // model.vocabulary: rows of its embedding
  std::string tokenizer_hash;
  std::shared_ptr<const StoredWeights> weights;
};

/// The model that is made of it: recipe and, of each tensor, of what.
struct Offspring {
  Recipe recipe;
  std::vector<MadeTensor> tensors;
};

struct Operation {
  const char* sentence = nullptr;
  /// What it may be told, by --set KEY=VALUE.
  parallel::OwnKeyList keys = nullptr;
  /// Whether it takes --with: other parents, whose shapes are the operation's to check.
  bool several_parents = false;
  /// UserError: what does not fit, where, and what would. Reads of weights no more than it chooses by.
  Offspring (*plan)(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) = nullptr;
};

/// transform --operation -> what it does. A program outside the tree adds its own rows.
parallel::NameTable<Operation> builtin_operations();

// One file each.
Operation copy_operation();
Operation prune_operation();
Operation grow_operation();
Operation add_null_operation();
Operation narrow_operation();
Operation widen_vocabulary_operation();
Operation concatenate_operation();
Operation average_operation();

}  // namespace launch
