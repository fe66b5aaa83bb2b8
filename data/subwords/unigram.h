// defines: make_unigram
#pragma once
#include <memory>
#include <set>
#include <string>

#include "data/subwords/subword_model.h"

namespace data {

/// "Unigram": of all ways to put a word together from pieces, the one whose scores add up to the most.
std::unique_ptr<const SubwordModel> make_unigram(const JsonValue& value, const std::set<std::string>& controls);

}  // namespace data
