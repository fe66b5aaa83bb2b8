// defines: WordCache
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace data {

/// The tokens of words met before: text repeats its words, and looking one up is ten times faster than encoding it.
/// Bounded; safe for any number of threads, of which none waits for another: who finds a word writes nothing that
/// threads share, so that they do not take each other's cache lines.
class WordCache {
 public:
  WordCache() : slots_(kSlots) {}
  WordCache(const WordCache&) = delete;
  WordCache& operator=(const WordCache&) = delete;
  ~WordCache() {
    for (const auto& slot : slots_) delete slot.load(std::memory_order_relaxed);
  }

  /// Appends the tokens of `word`; `encode(word)` makes them where they are not known yet.
  template <class Encode>
  void append(std::string_view word, std::vector<int32_t>& tokens, const Encode& encode) {
    if (word.size() > kLongestWord) return append_all(encode(word), tokens);
    const size_t hash = std::hash<std::string_view>{}(word);
    for (size_t probe = 0; probe < kMostProbes; ++probe) {
      auto& slot = slots_[(hash + probe) % kSlots];
      const Entry* known = slot.load(std::memory_order_acquire);
      if (known == nullptr) {
        auto made = std::make_unique<const Entry>(Entry{hash, std::string(word), encode(word)});
        append_all(made->tokens, tokens);
        if (slot.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) made.release();
        return;  // else another thread has put a word there, and this one is kept when it comes again
      }
      if (known->hash == hash && known->word == word) return append_all(known->tokens, tokens);
    }
    append_all(encode(word), tokens);
  }

 private:
  struct Entry {
    size_t hash;
    std::string word;
    std::vector<int32_t> tokens;
  };
  static constexpr size_t kSlots = 1 << 18;
  static constexpr size_t kMostProbes = 8;    // where so many are taken, a word is not kept
  static constexpr size_t kLongestWord = 64;  // bytes; longer ones hardly come again

  static void append_all(const std::vector<int32_t>& made, std::vector<int32_t>& tokens) {
    tokens.insert(tokens.end(), made.begin(), made.end());
  }

  std::vector<std::atomic<const Entry*>> slots_;
};

}  // namespace data
