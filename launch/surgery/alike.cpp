#include "launch/surgery/alike.h"

#include <algorithm>

#include "launch/recipe/writer.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

/// What decides shapes and the meaning of weights.
std::vector<std::pair<std::string, std::string>> keys_of_model(const Recipe& recipe, bool any_experts) {
  std::vector<std::pair<std::string, std::string>> keys = written_keys(recipe);
  std::erase_if(keys, [&](const auto& said) {
    const std::string section = said.first.substr(0, said.first.find('.'));
    const bool of_model = section == "model" || section == "attention" || section == "moe" || section == "layer" ||
                          said.first == "tasks.names";
    const bool of_training = said.first.find(".losses.") != std::string::npos || said.first == "model.dropout" ||
                             said.first == "model.init_std" || said.first.ends_with(".jitter");
    const bool table = said.first.find(".task_table.") != std::string::npos;
    const bool number = (said.first.ends_with(".experts") && !table) || said.first.ends_with(".experts_by_layer");
    return !of_model || of_training || (any_experts && number);
  });
  return keys;
}

}  // namespace

void check_alike(const std::vector<Parent>& parents, bool any_experts) {
  if (parents.size() < 2) parallel::user_error("one model alone; legal: others beside it, each with --with");
  const Parent& first = parents.front();
  const auto wanted = keys_of_model(first.recipe, any_experts);
  for (const Parent& other : parents) {
    if (other.tokenizer_hash != first.tokenizer_hash) {
      parallel::user_error(
          other.place, " has another tokenizer than ", first.place,
          ": a row of one's embedding is another token than the other's; legal: parents of one tokenizer");
    }
    const auto found = keys_of_model(other.recipe, any_experts);
    for (size_t i = 0; i < std::min(wanted.size(), found.size()); ++i) {
      if (wanted[i] == found[i]) continue;
      parallel::user_error(other.place, ": ", found[i].first, " = ", found[i].second, ", but of ", first.place, " ",
                           wanted[i].first, " = ", wanted[i].second, "; legal: parents of one shape");
    }
    if (wanted.size() != found.size()) {
      parallel::user_error(other.place, " has other keys in [moe] than ", first.place, "; legal: parents of one shape");
    }
  }
}

}  // namespace launch
