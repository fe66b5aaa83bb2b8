#include "data/subwords/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "data/subwords/byte_trie.h"
#include "data/subwords/vocabulary.h"
#include "data/subwords/word_cache.h"
#include "data/text/utf8.h"

namespace data {
namespace {

constexpr double kUnknownPenalty = 10;  // below the worst piece

/// The best way to a place in the word.
struct BestPath {
  double score = 0;
  int32_t from = -1;  // where its last piece begins; -1: no way yet
  int32_t token = 0;
};

class Unigram : public SubwordModel {
 public:
  Unigram(const JsonValue& value, const std::set<std::string>& controls);

  void append(std::string_view word, std::vector<int32_t>& tokens) const override {
    words_.append(word, tokens, [this](std::string_view uncached) { return tokens_of(uncached); });
  }
  std::optional<int32_t> find(std::string_view piece) const override { return vocabulary_->find(piece); }
  const std::vector<std::string>& pieces() const override { return vocabulary_->pieces(); }
  int64_t piece_count() const override { return static_cast<int64_t>(scores_.size()); }
  double score(int32_t token) const override { return scores_[static_cast<size_t>(token)]; }
  std::optional<int32_t> unknown() const override { return unknown_; }
  bool falls_back_to_bytes() const override { return byte_fallback_; }

 private:
  std::vector<int32_t> tokens_of(std::string_view word) const;
  std::vector<BestPath> best_paths(std::string_view word) const;
  int32_t require_unknown(std::string_view character) const;

  std::string place_;
  std::unique_ptr<const Vocabulary> vocabulary_;
  std::vector<double> scores_;
  ByteTrie trie_;
  std::optional<int32_t> unknown_;
  double unknown_score_ = 0;
  bool byte_fallback_;
  mutable WordCache words_;
};

Unigram::Unigram(const JsonValue& value, const std::set<std::string>& controls)
    : place_(value.place()), byte_fallback_(value["byte_fallback"].flag(false)) {
  std::vector<std::string> pieces;
  double worst = std::numeric_limits<double>::infinity();
  for (const JsonValue& entry : value["vocab"].items(kMostPieces)) {
    const std::vector<JsonValue> pair = entry.items(2);
    if (pair.size() != 2) entry.fail("must be a piece and its score");
    pieces.push_back(pair[0].text());
    scores_.push_back(pair[1].number());
    worst = std::min(worst, scores_.back());
  }
  unknown_score_ = worst - kUnknownPenalty;
  if (const JsonValue unknown = value["unk_id"]; !unknown.is_null()) {
    if (pieces.empty()) unknown.fail("there are no pieces");
    unknown_ = static_cast<int32_t>(unknown.integer(0, static_cast<int64_t>(pieces.size()) - 1));
  }
  vocabulary_ = std::make_unique<const Vocabulary>(pieces);
  std::vector<std::pair<std::string, int32_t>> keys;
  for (const std::string& piece : pieces) {
    const int32_t token = *vocabulary_->find(piece);
    if (token != unknown_ && !controls.contains(piece)) keys.emplace_back(piece, token);
  }
  trie_ = ByteTrie(std::move(keys));
}

int32_t Unigram::require_unknown(std::string_view character) const {
  if (!unknown_) {
    parallel::user_error(place_, ": no piece stands for '", character, "', and there is no unk_id to stand in");
  }
  return *unknown_;
}

std::vector<BestPath> Unigram::best_paths(std::string_view word) const {
  std::vector<BestPath> best(word.size() + 1);
  best[0].from = 0;
  const auto offer = [&](size_t from, size_t to, double score, int32_t token) {
    const double total = best[from].score + score;
    if (best[to].from < 0 || total > best[to].score) best[to] = {total, static_cast<int32_t>(from), token};
  };
  for (size_t at = 0; at < word.size();) {
    const size_t character = code_point_bytes(word, at);
    bool known = false;
    trie_.for_each_prefix(word.substr(at), [&](size_t bytes, int32_t token) {
      offer(at, at + bytes, scores_[static_cast<size_t>(token)], token);
      known = known || bytes == character;
    });
    if (!known) offer(at, at + character, unknown_score_, require_unknown(word.substr(at, character)));
    at += character;
  }
  return best;
}

std::vector<int32_t> Unigram::tokens_of(std::string_view word) const {
  const std::vector<BestPath> best = best_paths(word);
  struct Step {
    size_t begin, end;
    int32_t token;
  };
  std::vector<Step> steps;  // from the end
  for (size_t end = word.size(); end > 0;) {
    const BestPath& path = best[end];
    const auto begin = static_cast<size_t>(path.from);
    const bool joins = !steps.empty() && path.token == unknown_ && steps.back().token == unknown_;
    joins ? static_cast<void>(steps.back().begin = begin) : steps.push_back({begin, end, path.token});
    end = begin;
  }
  std::vector<int32_t> tokens;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const bool spelt = step->token == unknown_ && byte_fallback_ &&
                       vocabulary_->append_bytes(word.substr(step->begin, step->end - step->begin), tokens);
    if (!spelt) tokens.push_back(step->token);
  }
  return tokens;
}

}  // namespace

std::unique_ptr<const SubwordModel> make_unigram(const JsonValue& value, const std::set<std::string>& controls) {
  return std::make_unique<Unigram>(value, controls);
}

}  // namespace data
