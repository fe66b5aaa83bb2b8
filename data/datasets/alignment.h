// defines: read_alignment, kMostAlignedGroups: which documents of a token file are translations of each other
#pragma once
#include <cstdint>

#include "data/datasets/corpus_contents.h"
#include "data/hdf5/file.h"

namespace data {

/// Directions are pairs of groups, so that their number grows with its square.
constexpr int64_t kMostAlignedGroups = 1024;

/// Reads the alignment where the file has one. UserError unless every row is a row of translations: at least two
/// documents, each in the column of its group, all of one split, and no document twice in the whole file; and for more
/// than kMostAlignedGroups groups.
/// @pre: the rest of `contents` is read and checked
void read_alignment(const Hdf5File& file, CorpusContents& contents);

}  // namespace data
