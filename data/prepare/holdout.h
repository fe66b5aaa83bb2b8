// defines: Holdout, choose_heldout
#pragma once
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"
#include "data/prepare/document.h"

namespace data {

struct Holdout {
  std::vector<Split> split;        // of each document
  std::vector<std::string> notes;  // groups that could not be in both splits, in sentences
};

/// Holds out about `fraction` (in [0, 1)) of the keys, chosen by a hash of the key alone, so that more text does not
/// move old documents and all documents of a key (a page's translations) go together. Then, where the draw left a group
/// out of one of the splits, one key is moved, if that leaves no other group without training text.
Holdout choose_heldout(const std::vector<SourceDocument>& documents, double fraction);

}  // namespace data
