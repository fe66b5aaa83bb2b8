#include "data/shaping/metaspace.h"

namespace data {

Metaspace read_metaspace(const JsonValue& value) {
  static const parallel::NameTable<Metaspace::Scheme> schemes{"prepend_scheme",
                                                              {{"always", Metaspace::Scheme::kAlways},
                                                               {"first", Metaspace::Scheme::kFirst},
                                                               {"never", Metaspace::Scheme::kNever}}};
  Metaspace metaspace;
  metaspace.mark = value["replacement"].character(metaspace.mark);
  metaspace.splits = value["split"].flag(true);
  const JsonValue scheme = value["prepend_scheme"];
  if (!scheme.is_null()) metaspace.scheme = scheme.pick_text(schemes);
  // An older spelling of the same.
  if (!value["add_prefix_space"].flag(true)) {
    if (!scheme.is_null() && metaspace.scheme != Metaspace::Scheme::kNever) {
      value.fail("add_prefix_space is false, and prepend_scheme is not \"never\"");
    }
    metaspace.scheme = Metaspace::Scheme::kNever;
  }
  return metaspace;
}

}  // namespace data
