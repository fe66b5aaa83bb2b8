// What a model's parameters are on one rank of a layout, counted on the model itself without its weights.
// defines: ParameterShare, UpdatedElements, ParameterTable, count_parameters, largest_parameters
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"
#include "optim/updates/update.h"
#include "parallel/gradients/buckets.h"
#include "parallel/mesh/mesh.h"

namespace launch {

struct ParameterShare {
  std::string name;
  int64_t elements = 0;  // on this rank
  int64_t whole = 0;     // of the whole tensor
  parallel::Replicas replicas = parallel::Replicas::kWorld;
  int64_t sharers = 1;  // ranks that hold the same elements
  std::optional<parallel::MatrixParts> matrices = {};
};

/// Numbers that a rank updates, by what moves them.
struct UpdatedElements {
  int64_t by_rule = 0, by_adamw = 0;
  int64_t total() const { return by_rule + by_adamw; }
};

struct ParameterTable {
  int64_t total = 0, active = 0;       // of the whole model, whatever of it lies on this rank
  int64_t trained = 0;                 // of those
  std::vector<ParameterShare> own;     // that are trained
  std::vector<ParameterShare> frozen;  // without gradient and state

  int64_t elements() const;                                   // on this rank, frozen ones too
  int64_t trained_elements() const;                           // on this rank
  int64_t whole(parallel::Replicas replicas) const;           // of the whole model, of those trained that are shared so
  int64_t largest() const;                                    // elements of the largest on this rank
  const ParameterShare* find(const std::string& name) const;  // null: there is none

  /// As the reducer is told (GradientReducer).
  std::vector<parallel::GradientShape> gradients(const optim::UpdateRule& rule) const;
  /// Of this rank; with ZeRO of the rank that has most. wide: bytes of a gradient's number.
  UpdatedElements updated(const optim::UpdateRule& rule, bool sharded, int64_t wide) const;
};

/// Builds the model's shapes on LibTorch's meta device, so a model of any size takes milliseconds and no memory.
/// UserError where it cannot be laid out so.
ParameterTable count_parameters(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank);

/// The same of the rank that has most.
ParameterTable largest_parameters(const Recipe& recipe, int64_t vocabulary, const parallel::MeshShape& mesh);

}  // namespace launch
