// Rows for more tokens (Hewitt 2021: with the mean of the others the old tokens keep their distribution's shape).
#include "launch/surgery/expert_rows.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

struct WidenVocabularyConfig {
  int64_t rows = 0;
  double std = 0.0;
};

template <class Visitor>
void visit(WidenVocabularyConfig& config, Visitor& field) {
  using namespace parallel;
  field("rows", config.rows, between(0, 1 << 24), "how many more rows embedding and head get");
  field("std", config.std, at_least(0), "new rows are drawn with this standard deviation; 0: the mean of the old ones");
}

Offspring plan_widen(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<WidenVocabularyConfig>();
  const Parent& parent = parents.front();
  const int64_t before = parent.recipe.model.vocabulary;
  if (config.rows == 0) parallel::user_error("widen_vocabulary wants rows, such as --set rows=64");
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  made.recipe.model.vocabulary = before + config.rows;
  bool any = false;
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    MadeTensor one = same_tensor(tensor);
    const bool of_tokens = tensor.name == "embedding.weight" || tensor.name == "head.weight";
    if (of_tokens && tensor.shape.front() == before) {
      any = true;
      one.of.shape.front() += config.rows;
      Slab added{.rows = config.rows, .std = config.std};
      if (config.std == 0) added.mean_of = {{.name = tensor.name, .rows_averaged = before}};
      one.slabs.push_back(std::move(added));
    }
    made.tensors.push_back(std::move(one));
  }
  if (!any) {
    parallel::user_error(parent.place, ": model.kind = \"", parent.recipe.model.kind,
                         "\" has no embedding of tokens; legal: a model of text");
  }
  return made;
}

}  // namespace

Operation widen_vocabulary_operation() {
  return {.sentence = "rows for more tokens behind those of embedding and head: the same logits of the old ones",
          .keys = parallel::own_keys_of<WidenVocabularyConfig>,
          .plan = plan_widen};
}

}  // namespace launch
