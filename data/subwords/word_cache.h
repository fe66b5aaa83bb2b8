// defines: WordCache
#pragma once
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace data {

/// The tokens of words met before: text repeats its words, and looking one up is ten times faster than encoding it.
/// Bounded; safe for any number of threads.
class WordCache {
 public:
  /// Appends the tokens of `word`; `encode(word)` makes them where they are not known yet.
  template <class Encode>
  void append(std::string_view word, std::vector<int32_t>& tokens, const Encode& encode) {
    if (find(word, tokens)) return;
    std::vector<int32_t> made = encode(word);
    tokens.insert(tokens.end(), made.begin(), made.end());
    keep(word, std::move(made));
  }

 private:
  static constexpr size_t kMostWords = 1 << 18;
  static constexpr size_t kLongestWord = 64;  // bytes; longer ones hardly come again

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>{}(word); }
  };

  bool find(std::string_view word, std::vector<int32_t>& tokens) {
    if (word.size() > kLongestWord) return false;
    const std::shared_lock lock(mutex_);
    const auto known = words_.find(word);
    if (known == words_.end()) return false;
    tokens.insert(tokens.end(), known->second.begin(), known->second.end());
    return true;
  }

  void keep(std::string_view word, std::vector<int32_t> made) {
    if (word.size() > kLongestWord) return;
    const std::unique_lock lock(mutex_);
    if (words_.size() < kMostWords) words_.emplace(word, std::move(made));
  }

  std::shared_mutex mutex_;
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words_;
};

}  // namespace data
