// defines: Classifier, ClassifierConfig: says of which class a whole sequence is
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/block_stack.h"

namespace moetrain {

struct ClassifierConfig {
  int64_t classes = 2;
  parallel::Enum<Pool> pool = Pool::kMean;
};

template <class Visitor>
void visit(ClassifierConfig& config, Visitor& field) {
  using namespace parallel;
  field("classes", config.classes, between(2, 1 << 20),
        "groups of the token file, one of which each document belongs to");
  field("pool", config.pool, anything(), "what of a document's tokens the classes are read from");
}

/// An encoder: blocks that see whole sequences, whose hidden states after the final norm are pooled to one vector of a
/// sequence, of which a head of its own gives a logit for each class. hidden_TD of its output is [sequences, D], this
/// rank's of its tensor group's.
class Classifier : public Model {
 public:
  Classifier(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
             const MoeTables& tables);
  static std::vector<StackShape> stacks(const ModelConfig& config) {
    return {{.name = "blocks", .blocks = config.layers, .causal = false}};
  }

  static DocumentShape documents_of(const ModelConfig& config) {
    return {.classes = config.own<ClassifierConfig>().classes};
  }
  DocumentShape documents() const override { return documents_of(config()); }

  ModelOutput forward(const ModelInputs& inputs, const PassScope& pass) override;

 private:
  std::shared_ptr<BlockStack> blocks_;
};

}  // namespace moetrain
