// How pieces become text again.
// defines: Decoder, make_decoder
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/text/json_value.h"

namespace data {

/// Immutable, so any number of threads may use one.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the pieces of a text, some into fewer; together they are the text.
  virtual void apply(std::vector<std::string>& pieces) const = 0;
};

/// The "decoder" of a tokenizer.json; null: a space between the pieces. UserError with the place for an unknown kind
/// (which lists the known ones) and for what cannot be used.
std::unique_ptr<const Decoder> make_decoder(const JsonValue& value);

}  // namespace data
