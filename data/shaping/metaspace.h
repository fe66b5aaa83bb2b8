// defines: Metaspace, read_metaspace
#pragma once
#include <string>

#include "data/text/json_value.h"

namespace data {

/// "Metaspace", of pre-tokenizers and decoders: a mark stands for each space, and one may be put in front.
struct Metaspace {
  enum class Scheme { kAlways, kFirst, kNever };

  std::string mark = "\u2581";
  Scheme scheme = Scheme::kAlways;  // where the text does not begin with a mark, one goes in front
  bool splits = true;               // before each mark
};

Metaspace read_metaspace(const JsonValue& value);

}  // namespace data
