// How weights are moved: a rule is a row of a table, and says what it keeps of each weight and how much of a weight it
// must see at once. defines: Parameter, UpdateStep, Update, Granularity, UpdateRule, moves, unit_of, builtin_updates
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "optim/updates/optimizer_config.h"
#include "parallel/base/name_table.h"
#include "parallel/gradients/buckets.h"
#include "parallel/mesh/matrix_parts.h"

namespace optim {

/// What an optimizer moves.
struct Parameter {
  std::string name;
  at::Tensor tensor;  // this rank's part of it
  /// How the part becomes whole matrices; none: its numbers have nothing to do with each other.
  std::optional<parallel::MatrixParts> matrices = {};
  double factor = 1;  // on the learning rate
  int64_t begun = 0;  // updates of the run before its state began
};

/// What one update is told.
struct UpdateStep {
  double learning_rate = 0;   // times Parameter::factor
  double gradient_scale = 1;  // the gradients count times so much (clipping)
  int64_t number = 1;         // of the run's update, from 1
};

/// A rule at work on a list of tensors, each in float32 or float64, with its state.
class Update {
 public:
  /// Every state is as large as its weight, and 0 at first. slots: their names.
  Update(std::vector<Parameter> parameters, std::vector<std::string> slots);
  virtual ~Update() = default;

  /// gradients: summed over ranks, in the order of the parameters.
  /// Collective over the ranks that hold the other parts of these matrices.
  virtual void step(const std::vector<at::Tensor>& gradients, const UpdateStep& step) = 0;

  const std::vector<std::string>& slots() const { return slots_; }
  /// Of one slot, by parameter.
  const std::vector<at::Tensor>& state(size_t slot) const { return states_[slot]; }

 protected:
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// An internal error where there are not as many gradients as parameters.
  void check_count(const std::vector<at::Tensor>& gradients) const;

 private:
  std::vector<Parameter> parameters_;
  std::vector<std::string> slots_;
  std::vector<std::vector<at::Tensor>> states_;
};

/// How much of a weight must lie on one rank. A rule of kMatrix moves the matrices of a model (Parameter::matrices);
/// AdamW moves the rest.
enum class Granularity { kElement, kMatrix };

struct UpdateRule {
  std::unique_ptr<Update> (*make)(std::vector<Parameter> parameters, const OptimizerConfig& config) = nullptr;
  Granularity granularity = Granularity::kElement;
  std::vector<std::string> slots = {};  // states of each weight
  int64_t copies = 0;                   // of the largest weight that an update makes on its way: for planning
  /// What only this rule knows: its own table [optimizer.NAME] in a recipe, and what it refuses of it.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const OptimizerConfig& config) = nullptr;
};

/// Whether the rule moves such a parameter, or leaves it to AdamW.
bool moves(const UpdateRule& rule, const std::optional<parallel::MatrixParts>& matrices);
/// What of it must stay together.
parallel::GradientUnit unit_of(const UpdateRule& rule, const std::optional<parallel::MatrixParts>& matrices);

/// A program outside the tree adds its own rows.
parallel::NameTable<UpdateRule> builtin_updates();

}  // namespace optim
