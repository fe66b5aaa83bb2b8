// defines: make_bpe
#pragma once
#include <memory>
#include <set>
#include <string>

#include "data/subwords/subword_model.h"

namespace data {

/// "BPE": from characters on, always the leftmost of the pairs whose merge comes first.
std::unique_ptr<const SubwordModel> make_bpe(const JsonValue& value, const std::set<std::string>& controls);

}  // namespace data
