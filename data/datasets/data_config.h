// defines: DocumentPacking, DataConfig, visit, check_packing
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "parallel/base/fault.h"
#include "parallel/base/field.h"

namespace data {

/// What a sequence of a language model is.
enum class DocumentPacking {
  kStream,     // a window of the whole text, in which documents follow each other
  kDocuments,  // a document: as many as fit stand in a row, each seeing itself alone
  kJoined,     // a row of whole documents, which see those before them
};
constexpr std::array<const char*, 3> names_of(DocumentPacking) { return {"stream", "documents", "joined"}; }

struct DataConfig {
  std::string file;
  int64_t sequence_length = 128;
  parallel::Enum<DocumentPacking> packing = DocumentPacking::kStream;
  std::string directions = "all";
  int64_t longest = 128;
  int64_t rows = 0;
  double temperature = 1.0;
};

template <class Visitor>
void visit(DataConfig& config, Visitor& field) {
  using namespace parallel;
  field("file", config.file, anything(),
        "token file written by `moetrain prepare`; of a language model also several, with the weights by which "
        "sequences are drawn from them: \"a.h5:3,b.h5:1\"");
  field("sequence_length", config.sequence_length, between(1, 1 << 20), "tokens of one sequence of a language model");
  field("packing", config.packing, anything(),
        "language model: stream: windows of the whole text; documents: whole documents, as many in a row of "
        "sequence_length tokens as fit, each seeing itself alone; joined: the same rows, each one sequence");
  field("directions", config.directions, anything(),
        "translation: \"all\", or a list such as \"en-de,de-en\" or \"en-*,*-en\"");
  field(
      "longest", config.longest, between(3, 1 << 20),
      "translation: pairs with more tokens on either side, tag and end included, are not trained on; classifier: of a "
      "longer document the beginning is read");
  field("rows", config.rows, at_least(0), "translation: train on the first so many aligned rows; 0: all");
  field("temperature", config.temperature, above(0),
        "translation: a direction of n pairs is drawn in proportion to n^(1 / temperature)");
}

/// UserError where documents are packed for a model that reads no running text.
inline void check_packing(const DataConfig& config, bool running_text, const std::string& model) {
  if (config.packing == DocumentPacking::kStream || running_text) return;
  parallel::user_error("data.packing = \"", config.packing, "\" with model.kind = \"", model,
                       "\", which reads no running text; legal: data.packing = \"stream\", the default");
}

}  // namespace data
