// How a normalised text is cut before the model sees it.
// defines: PreTokenizer, make_pre_tokenizer
#pragma once
#include <memory>

#include "data/shaping/pieces.h"
#include "data/text/json_value.h"

namespace data {

/// Immutable, so any number of threads may use one.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts spans into smaller ones, drops some, or rewrites them.
  virtual void apply(Pieces& pieces) const = 0;
};

/// The "pre_tokenizer" of a tokenizer.json; null: nothing is cut. UserError with the place for an unknown kind (which
/// lists the known ones) and for what cannot be used.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonValue& value);

}  // namespace data
