// defines: Cut, Holdout, choose_heldout, cut_documents
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"
#include "data/sources/document.h"

namespace data {

/// A document whose end, from byte `at` on, is held out.
struct Cut {
  size_t document = 0;
  size_t at = 0;
};

struct Holdout {
  std::vector<Split> split;        // of each document; of one that is cut, of its beginning
  std::vector<Cut> cuts;           // sorted by document
  std::vector<std::string> notes;  // what a user may not expect, in sentences
};

/// Holds out about `fraction` (in [0, 1)) of the text of each group. First of the keys, chosen by a hash of the key
/// alone, so that more text does not move old documents and all documents of a key (a page's translations, near copies)
/// go together. Where that holds out less than half or more than one and a half times the share, because a group has
/// few documents or one that is most of it, the keys of the group are chosen anew: in the order of their hashes, those
/// that fit. Where none fits, the end of the group's largest document is held out; where that is too short, its
/// smallest key. No group with two keys is without training text, unless nothing at all could be held out otherwise.
/// Depends on the documents' keys, groups and texts and not on their order.
Holdout choose_heldout(const std::vector<SourceDocument>& documents, double fraction);

/// Makes two documents of each that is cut: its end goes to the end of `documents`, and into `holdout.split`.
void cut_documents(std::vector<SourceDocument>& documents, Holdout& holdout);

}  // namespace data
