#include "data/sources/near_copies.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "data/sources/workers.h"
#include "data/text/utf8.h"
#include "parallel/base/random.h"

namespace data {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Of a character beyond ASCII: no-break spaces, the spaces, quotes and dashes of U+2000 to U+206F, the ideographic
/// space and full stops, the byte order mark.
bool is_mark(std::string_view character) {
  if (character.starts_with("\xE2\x80") || character.starts_with("\xE2\x81")) return true;
  constexpr std::string_view kMarks[] = {"\xC2\xA0",     "\xC2\xAB",     "\xC2\xBB",    "\xE3\x80\x80",
                                         "\xE3\x80\x81", "\xE3\x80\x82", "\xEF\xBB\xBF"};
  return std::find(std::begin(kMarks), std::end(kMarks), character) != std::end(kMarks);
}

/// Sets of keys; each is known by the smallest of them, so that the order of the documents does not matter.
class KeySets {
 public:
  const std::string& smallest(const std::string& key) {
    const auto found = parent_.find(key);
    if (found == parent_.end()) return parent_.emplace(key, key).first->first;
    if (found->second == key) return found->first;
    return found->second = smallest(std::string(found->second));
  }

  void join(const std::string& a, const std::string& b) {
    const std::string& first = smallest(a);
    const std::string& second = smallest(b);
    if (first != second) parent_[std::max(first, second)] = std::min(first, second);
  }

 private:
  std::map<std::string, std::string> parent_;
};

}  // namespace

std::string words_of(std::string_view text) {
  std::string words;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = code_point_bytes(text, at);
    const char c = text[at];
    if (bytes > 1 && !is_mark(text.substr(at, bytes))) words += text.substr(at, bytes);
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')) words += c;
    if (c >= 'A' && c <= 'Z') words += static_cast<char>(c - 'A' + 'a');
    at += bytes;
  }
  if (words.empty())
    std::copy_if(text.begin(), text.end(), std::back_inserter(words), [](char c) { return !is_space(c); });
  return words;
}

int64_t join_near_copies(std::vector<SourceDocument>& documents, int64_t threads) {
  KeySets keys;
  std::vector<uint64_t> words(documents.size());
  for_each_index(std::ssize(documents), threads, [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    words[i] = parallel::hash_name(words_of(documents[i].text));
  });
  std::unordered_map<uint64_t, const SourceDocument*> first;  // words -> the first document with them
  int64_t copies = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const SourceDocument& document = documents[i];
    const auto [found, is_first] = first.emplace(words[i], &document);
    copies += !is_first;
    keys.join(found->second->key, document.key);
  }
  for (SourceDocument& document : documents) document.key = keys.smallest(document.key);
  return copies;
}

}  // namespace data
