// defines: words_of, join_near_copies
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/sources/document.h"

namespace data {

/// What is left of a text without white space, punctuation and the difference between A and a: texts that differ in
/// line ends, blanks, quotes or capitals only have it in common. Of a text without a letter or digit, the text without
/// its white space.
std::string words_of(std::string_view text);

/// Gives all documents of the same words the same key, so that they are held out together or not at all: a copy in the
/// training text would make held-out loss a test of memory. Keys that they shared with others are joined too. Gives the
/// number of documents that have the words of an earlier one. By so many threads (0: one per core).
int64_t join_near_copies(std::vector<SourceDocument>& documents, int64_t threads = 0);

}  // namespace data
