// What happens to a text before anything is cut.
// defines: Normalizer, make_normalizer
#pragma once
#include <memory>

#include "data/shaping/pieces.h"
#include "data/text/json_value.h"

namespace data {

/// Immutable, so any number of threads may use one.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Rewrites the text of the pieces, which is one span or empty.
  virtual void apply(Pieces& pieces) const = 0;
};

/// The "normalizer" of a tokenizer.json; null: nothing happens. UserError with the place for an unknown kind (which
/// lists the known ones) and for what cannot be used.
std::unique_ptr<const Normalizer> make_normalizer(const JsonValue& value);

}  // namespace data
