#include "data/datasets/parallel_text.h"

#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "data/datasets/corpus_contents.h"
#include "data/datasets/direction_choice.h"
#include "data/tokenizers/control_pieces.h"
#include "parallel/base/fault.h"

namespace data {

struct ParallelText::Contents {
  explicit Contents(const TokenCorpus& opened) : corpus(opened) {}

  TokenCorpus corpus;
  std::vector<Direction> directions;
  std::vector<int64_t> tags;       // [directions], the control piece that goes before the source
  std::vector<int64_t> starts{0};  // [directions + 1], first pair of each direction
  std::vector<Pair> pairs;
  int64_t skipped = 0;
};

namespace {

/// 40 bytes each.
constexpr int64_t kMostPairs = 1ll << 31;

std::string place_of(const CorpusContents& corpus, Split split) {
  return corpus.path + ", split '" + to_string(split) + "',";
}

std::vector<int64_t> rows_of(const CorpusContents& corpus, Split split, int64_t most) {
  if (corpus.aligned_rows() == 0) {
    parallel::user_error(corpus.path, ": holds no parallel text; prepare it with --parallel");
  }
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < corpus.aligned_rows(); ++row) {
    if (most > 0 && static_cast<int64_t>(rows.size()) == most) break;
    if (corpus.split_of_row(row) == split) rows.push_back(row);
  }
  if (rows.empty()) {
    const char* source = split == Split::kTest      ? "--test, or evaluate with --split validation"
                         : split == Split::kHeldOut ? "--validation"
                                                    : "--parallel";
    parallel::user_error(place_of(corpus, split), " has no rows; prepare it with ", source);
  }
  return rows;
}

/// Calls visit(source, target, pair) for every pair of different groups that a row holds; `pair` has no direction yet.
template <class Visit>
void for_each_pair(const CorpusContents& corpus, const std::vector<int64_t>& rows, const Visit& visit) {
  const auto length = [&](int64_t document) {
    const auto d = static_cast<size_t>(document);
    return corpus.offsets[d + 1] - corpus.offsets[d];  // end included
  };
  std::vector<std::pair<int64_t, int64_t>> present;  // group, document
  for (const int64_t row : rows) {
    present.clear();
    for (int64_t group = 0; group < static_cast<int64_t>(corpus.groups.size()); ++group) {
      const int64_t document = corpus.aligned_document(row, group);
      if (document >= 0) present.emplace_back(group, document);
    }
    for (const auto& [source, from] : present) {
      for (const auto& [target, to] : present) {
        if (source == target) continue;
        visit(source, target, ParallelText::Pair{from, to, -1, 1 + length(from), length(to)});
      }
    }
  }
}

DirectionOffer offer_of(const CorpusContents& corpus, const std::vector<int64_t>& rows, Split split) {
  const size_t groups = corpus.groups.size();
  DirectionOffer offer{place_of(corpus, split), corpus.groups, std::vector<int64_t>(groups * groups, 0)};
  for_each_pair(corpus, rows, [&](int64_t source, int64_t target, const ParallelText::Pair&) {
    ++offer.pairs_GG[static_cast<size_t>(source) * groups + static_cast<size_t>(target)];
  });
  return offer;
}

/// The pairs of chosen directions: counted first, so that then each can be put in its direction's part.
class PairGathering {
 public:
  PairGathering(const CorpusContents& corpus, std::vector<int64_t> rows, const std::vector<Direction>& directions,
                int64_t longest)
      : corpus_(corpus),
        rows_(std::move(rows)),
        longest_(longest),
        direction_GG_(corpus.groups.size() * corpus.groups.size(), -1) {
    for (size_t d = 0; d < directions.size(); ++d) {
      direction_GG_[place(directions[d].source, directions[d].target)] = static_cast<int32_t>(d);
    }
    count_.resize(directions.size(), 0);
    visit_chosen([&](const ParallelText::Pair& pair) {
      too_long(pair) ? ++skipped_ : ++count_[static_cast<size_t>(pair.direction)];
    });
  }

  const std::vector<int64_t>& count() const { return count_; }  // [directions], those not skipped
  int64_t skipped() const { return skipped_; }

  /// `next`: where the first pair of each direction goes.
  std::vector<ParallelText::Pair> pairs(std::vector<int64_t> next) const {
    std::vector<ParallelText::Pair> all(static_cast<size_t>(std::accumulate(count_.begin(), count_.end(), int64_t{0})));
    visit_chosen([&](const ParallelText::Pair& pair) {
      if (!too_long(pair)) all[static_cast<size_t>(next[static_cast<size_t>(pair.direction)]++)] = pair;
    });
    return all;
  }

 private:
  size_t place(int64_t source, int64_t target) const {
    return static_cast<size_t>(source) * corpus_.groups.size() + static_cast<size_t>(target);
  }

  bool too_long(const ParallelText::Pair& pair) const {
    return pair.source_length > longest_ || pair.target_length > longest_;
  }

  template <class Visit>
  void visit_chosen(const Visit& visit) const {
    for_each_pair(corpus_, rows_, [&](int64_t source, int64_t target, ParallelText::Pair pair) {
      pair.direction = direction_GG_[place(source, target)];
      if (pair.direction >= 0) visit(pair);
    });
  }

  const CorpusContents& corpus_;
  std::vector<int64_t> rows_;
  int64_t longest_;
  std::vector<int32_t> direction_GG_;  // -1: not chosen
  std::vector<int64_t> count_;
  int64_t skipped_ = 0;
};

/// The language tag of each direction's target.
std::vector<int64_t> find_tags(const CorpusContents& corpus, const std::vector<Direction>& directions) {
  std::map<int32_t, int64_t> tag_of_group;
  std::vector<int64_t> tags;
  for (const Direction& direction : directions) {
    const auto [known, is_new] = tag_of_group.emplace(direction.target, -1);
    const std::string& language = corpus.groups[static_cast<size_t>(direction.target)];
    if (is_new) known->second = corpus.tokenizer->control(language_tag(language));
    tags.push_back(known->second);
  }
  return tags;
}

}  // namespace

ParallelText::ParallelText(const TokenCorpus& corpus, Split split, const PairSelection& selection) {
  const CorpusContents& stored = *corpus.shared_contents();
  std::vector<int64_t> rows = rows_of(stored, split, selection.rows);
  auto contents = std::make_shared<Contents>(corpus);
  contents->directions = choose_directions(selection.directions, offer_of(stored, rows, split));
  contents->tags = find_tags(stored, contents->directions);
  const int64_t longest = split == Split::kTrain ? selection.longest : std::numeric_limits<int64_t>::max();
  const PairGathering gathering(stored, std::move(rows), contents->directions, longest);
  for (size_t d = 0; d < contents->directions.size(); ++d) {
    if (gathering.count()[d] == 0) {
      parallel::user_error(place_of(stored, split), " has no pair ", contents->directions[d].name, " of at most ",
                           longest, " tokens on either side (data.longest)");
    }
    contents->starts.push_back(contents->starts.back() + gathering.count()[d]);
  }
  if (contents->starts.back() > kMostPairs) {
    parallel::user_error(place_of(stored, split), " has ", contents->starts.back(), " pairs in data.directions '",
                         selection.directions, "'; at most ", kMostPairs, " are legal");
  }
  contents->skipped = gathering.skipped();
  contents->pairs = gathering.pairs({contents->starts.begin(), contents->starts.end() - 1});
  contents_ = std::move(contents);
}

int64_t ParallelText::size() const { return static_cast<int64_t>(contents_->pairs.size()); }

const ParallelText::Pair& ParallelText::pair(int64_t index) const {
  parallel::check_internal(index >= 0 && index < size(), "pair ", index, " of ", size());
  return contents_->pairs[static_cast<size_t>(index)];
}

const std::vector<Direction>& ParallelText::directions() const { return contents_->directions; }

IndexRange ParallelText::pairs_of(int32_t direction) const {
  const bool known = direction >= 0 && direction < static_cast<int32_t>(contents_->directions.size());
  parallel::check_internal(known, "direction ", direction, " of ", contents_->directions.size());
  return {contents_->starts[static_cast<size_t>(direction)], contents_->starts[static_cast<size_t>(direction) + 1]};
}

int64_t ParallelText::skipped() const { return contents_->skipped; }

std::string ParallelText::source_text(int64_t index) const {
  return contents_->corpus.document_text(pair(index).source_document);
}

std::string ParallelText::target_text(int64_t index) const {
  return contents_->corpus.document_text(pair(index).target_document);
}

void ParallelText::append_source(int64_t index, std::vector<int64_t>& tokens) const {
  const Pair& chosen = pair(index);
  tokens.push_back(contents_->tags[static_cast<size_t>(chosen.direction)]);
  append_document(chosen.source_document, tokens);
}

void ParallelText::append_target(int64_t index, std::vector<int64_t>& tokens) const {
  append_document(pair(index).target_document, tokens);
}

void ParallelText::append_document(int64_t document, std::vector<int64_t>& tokens) const {
  const CorpusContents& stored = *contents_->corpus.shared_contents();
  const auto d = static_cast<size_t>(document);
  const size_t before = tokens.size();
  const int64_t count = stored.offsets[d + 1] - stored.offsets[d];
  tokens.resize(before + static_cast<size_t>(count));
  stored.tokens.copy(stored.offsets[d], count, tokens.data() + before);
}

const TokenCorpus& ParallelText::corpus() const { return contents_->corpus; }

}  // namespace data
