// What the scores share: the two sides of a corpus, and counting what they have in common.
// defines: check_segments, ngram_count, shared_ngrams
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// UserError unless there is a reference for each hypothesis, and at least one of them.
void check_segments(const char* score, const std::vector<std::string>& hypotheses,
                    const std::vector<std::string>& references);

/// How many stretches of `order` units a sequence has.
int64_t ngram_count(std::u32string_view sequence, size_t order);

/// Stretches of `order` units that two sequences share, each counted as often as the sequence has it that has it less
/// often (the clipped counts of Papineni et al. 2002). Units are whatever the caller numbers: characters or words.
int64_t shared_ngrams(std::u32string_view hypothesis, std::u32string_view reference, size_t order);

}  // namespace data
