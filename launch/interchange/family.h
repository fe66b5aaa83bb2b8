// The Hugging Face architectures that moetrain reads and writes, one file each in families/.
// defines: Family, known_families, family_named, holds, family_for, config_of, shape_from
#pragma once
#include <string>
#include <vector>

#include "launch/interchange/config_keys.h"
#include "launch/interchange/model_shape.h"
#include "launch/interchange/tensors/tensor_rules.h"

namespace launch::interchange {

struct Family {
  std::string model_type;    // config.json's
  std::string architecture;  // its architectures[0], by which AutoModel finds the class
  /// config.json's keys, for both directions.
  void (*config)(ConfigKeys& keys, ModelShape& shape) = nullptr;
  /// Its tensors.
  void (*tensors)(TensorRules& rules, const ModelShape& shape) = nullptr;
  /// Of a model that it has not, one that computes the same and that it has; null: none but the model itself.
  ModelShape (*held_as)(ModelShape shape) = nullptr;
  /// A folder's tensor that is no part of the model and is passed over; null: none.
  bool (*ignores)(const std::string& tensor, const ModelShape& shape) = nullptr;
};

/// In the order in which an export tries them.
const std::vector<Family>& known_families();

/// The family of a config.json at `place`. UserError that lists the known for another one.
const Family& family_named(const Json& config, const std::string& place);

/// Whether a config.json of the family can say this model.
bool holds(const Family& family, const ModelShape& shape);

/// The first family that has a model of this shape: whose config.json, read again, says the same. UserError for a model
/// that none has: the key that the nearest has otherwise, and how.
const Family& family_for(const ModelShape& shape);

/// config.json of the shape, without what a tokenizer and a dtype add.
Json config_of(const Family& family, const ModelShape& shape);

/// UserError, beginning with `place`: a key that is missing, unknown, or says what moetrain has not.
/// `ignored`: keys that somebody knows to change nothing.
ModelShape shape_from(const Family& family, const Json& config, const std::string& place,
                      const std::vector<std::string>& ignored = {});

}  // namespace launch::interchange
