#include "data/subwords/bpe.h"
#include "data/subwords/subword_model.h"
#include "data/subwords/unigram.h"

namespace data {

std::unique_ptr<const SubwordModel> make_subword_model(const JsonValue& value, const std::set<std::string>& controls) {
  using Maker = std::unique_ptr<const SubwordModel> (*)(const JsonValue&, const std::set<std::string>&);
  static const parallel::NameTable<Maker> known{"model", {{"BPE", make_bpe}, {"Unigram", make_unigram}}};
  // Files older than the field "type" tell the two apart by what is in them.
  if (value["type"].is_null())
    return value["vocab"].json().is_array() ? make_unigram(value, controls) : make_bpe(value, controls);
  return value.pick(known)(value, controls);
}

}  // namespace data
