#include "data/subwords/bpe.h"

#include <algorithm>
#include <utility>

#include "data/subwords/merge_table.h"
#include "data/subwords/vocabulary.h"
#include "data/subwords/word_cache.h"
#include "data/text/utf8.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

constexpr size_t kMostMerges = size_t{1} << 24;

/// A part of a word; a merge joins the one after it to it.
struct Symbol {
  int32_t token = 0;
  int32_t previous = -1;
  int32_t next = -1;
  bool alive = true;
};

/// A merge that was possible when it was found.
struct Candidate {
  uint32_t rank = 0;
  int32_t at = 0;
  int32_t token = 0;
};

bool comes_later(const Candidate& a, const Candidate& b) { return a.rank != b.rank ? a.rank > b.rank : a.at > b.at; }

class Bpe : public SubwordModel {
 public:
  Bpe(const JsonValue& value, const std::set<std::string>& controls);

  void append(std::string_view word, std::vector<int32_t>& tokens) const override {
    words_.append(word, tokens, [this](std::string_view uncached) { return tokens_of(uncached); });
  }
  std::optional<int32_t> find(std::string_view piece) const override { return vocabulary_.find(piece); }
  const std::vector<std::string>& pieces() const override { return vocabulary_.pieces(); }
  int64_t piece_count() const override { return vocabulary_.size(); }
  double score(int32_t) const override { return 0; }
  std::optional<int32_t> unknown() const override { return unknown_; }
  bool falls_back_to_bytes() const override { return byte_fallback_; }

 private:
  void read_merges(const JsonValue& merges, const std::set<std::string>& controls);
  int32_t merge_part(const JsonValue& merge, std::string_view piece) const;
  std::vector<int32_t> tokens_of(std::string_view word) const;
  std::vector<int32_t> characters_of(std::string_view word) const;
  void merge(std::vector<int32_t>& tokens) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::set<int32_t> controls_;
  std::optional<int32_t> unknown_;
  std::string prefix_;  // of a piece that does not begin a word
  std::string suffix_;  // of one that ends it
  bool fuses_unknown_;
  bool byte_fallback_;
  bool takes_whole_words_;
  mutable WordCache words_;
};

size_t count_merges(const JsonValue& merges) {
  if (!merges.json().is_array()) merges.fail("must be an array");
  if (merges.json().size() > kMostMerges) {
    merges.fail(parallel::concat("has ", merges.json().size(), " merges; legal: at most ", kMostMerges));
  }
  return merges.json().size();
}

Bpe::Bpe(const JsonValue& value, const std::set<std::string>& controls)
    : vocabulary_(Vocabulary::from_object(value["vocab"])),
      merges_(count_merges(value["merges"])),
      prefix_(value["continuing_subword_prefix"].text("")),
      suffix_(value["end_of_word_suffix"].text("")),
      fuses_unknown_(value["fuse_unk"].flag(false)),
      byte_fallback_(value["byte_fallback"].flag(false)),
      takes_whole_words_(value["ignore_merges"].flag(false)) {
  const JsonValue dropout = value["dropout"];
  if (!dropout.is_null() && dropout.number() != 0)
    dropout.fail("merges left out at random have no one encoding; legal: null");
  if (const JsonValue unknown = value["unk_token"]; !unknown.is_null()) {
    unknown_ = vocabulary_.find(unknown.text());
    if (!unknown_) unknown.fail("'" + parallel::printable(unknown.text()) + "' is no piece of the vocabulary");
  }
  for (const std::string& control : controls) {
    if (const auto token = vocabulary_.find(control)) controls_.insert(*token);
  }
  read_merges(value["merges"], controls);
}

int32_t Bpe::merge_part(const JsonValue& merge, std::string_view piece) const {
  const auto token = vocabulary_.find(piece);
  if (!token) merge.fail("'" + parallel::printable(piece) + "' is no piece of the vocabulary");
  return *token;
}

void Bpe::read_merges(const JsonValue& merges, const std::set<std::string>& controls) {
  uint32_t rank = 0;
  for (const nlohmann::json& entry : merges.json()) {
    const JsonValue merge(entry, parallel::concat(merges.place(), "[", rank, "]"));
    std::string left;
    std::string right;
    if (entry.is_array()) {
      const std::vector<JsonValue> parts = merge.items(2);
      if (parts.size() != 2) merge.fail("must be two pieces");
      left = parts[0].text();
      right = parts[1].text();
    } else {
      const std::string& pair = merge.text();
      const size_t space = pair.find(' ');
      if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos) {
        merge.fail("must be two pieces and a space between them, but is '" + parallel::printable(pair) + "'");
      }
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    }
    const int32_t left_token = merge_part(merge, left);
    const int32_t right_token = merge_part(merge, right);
    if (right.starts_with(prefix_)) right.erase(0, prefix_.size());
    const std::string whole = left + right;
    const int32_t token = merge_part(merge, whole);
    if (!controls.contains(whole)) merges_.set(left_token, right_token, {rank, token});
    ++rank;
  }
}

std::vector<int32_t> Bpe::tokens_of(std::string_view word) const {
  if (takes_whole_words_) {
    const auto token = vocabulary_.find(word);
    if (token && !controls_.contains(*token)) return {*token};
  }
  std::vector<int32_t> tokens = characters_of(word);
  if (tokens.size() > 1) merge(tokens);
  return tokens;
}

std::vector<int32_t> Bpe::characters_of(std::string_view word) const {
  std::vector<int32_t> tokens;
  tokens.reserve(word.size());
  bool pending_unknown = false;  // is written when its run ends
  std::string spelt;
  for (size_t at = 0; at < word.size();) {
    const size_t begin = at;
    at += code_point_bytes(word, at);
    std::string_view character = word.substr(begin, at - begin);
    if (!prefix_.empty() || !suffix_.empty()) {
      spelt = (begin > 0 ? prefix_ : "") + std::string(character) + (at == word.size() ? suffix_ : "");
      character = spelt;
    }
    const auto token = vocabulary_.find(character);
    if (token && !controls_.contains(*token)) {
      if (std::exchange(pending_unknown, false)) tokens.push_back(*unknown_);
      tokens.push_back(*token);
      continue;
    }
    if (byte_fallback_ && vocabulary_.append_bytes(character, tokens)) continue;
    if (!unknown_) continue;  // without either the character is lost, in `tokenizers` too
    if (pending_unknown && !fuses_unknown_) tokens.push_back(*unknown_);
    pending_unknown = true;
  }
  if (pending_unknown) tokens.push_back(*unknown_);
  return tokens;
}

void Bpe::merge(std::vector<int32_t>& tokens) const {
  const auto count = static_cast<int32_t>(tokens.size());
  std::vector<Symbol> symbols(tokens.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)] = {tokens[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  }
  std::vector<Candidate> queue;
  const auto at = [&](int32_t index) -> Symbol& { return symbols[static_cast<size_t>(index)]; };
  const auto consider = [&](int32_t left) {
    if (left < 0 || at(left).next < 0) return false;
    const Merged* merged = merges_.find(at(left).token, at(at(left).next).token);
    if (merged != nullptr) queue.push_back({merged->rank, left, merged->token});
    return merged != nullptr;
  };
  for (int32_t i = 0; i + 1 < count; ++i) consider(i);
  std::make_heap(queue.begin(), queue.end(), comes_later);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), comes_later);
    const Candidate best = queue.back();
    queue.pop_back();
    Symbol& left = at(best.at);
    if (!left.alive || left.next < 0) continue;
    const Symbol right = at(left.next);
    const Merged* merged = merges_.find(left.token, right.token);
    if (merged == nullptr || merged->token != best.token) continue;  // one of the two is another one by now
    at(left.next).alive = false;
    left.token = best.token;
    left.next = right.next;
    if (right.next >= 0) at(right.next).previous = best.at;
    if (consider(left.previous)) std::push_heap(queue.begin(), queue.end(), comes_later);
    if (consider(best.at)) std::push_heap(queue.begin(), queue.end(), comes_later);
  }
  tokens.clear();
  for (int32_t i = 0; i >= 0; i = at(i).next) tokens.push_back(at(i).token);
}

}  // namespace

std::unique_ptr<const SubwordModel> make_bpe(const JsonValue& value, const std::set<std::string>& controls) {
  return std::make_unique<Bpe>(value, controls);
}

}  // namespace data
