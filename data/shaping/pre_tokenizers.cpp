#include "data/shaping/pre_tokenizers.h"

#include <utility>

#include "data/shaping/byte_alphabet.h"
#include "data/shaping/metaspace.h"
#include "data/shaping/replacement.h"
#include "data/shaping/splitting.h"
#include "data/text/unicode.h"
#include "data/text/utf8.h"

namespace data {
namespace {

constexpr size_t kDeepestPreTokenizers = 16;
constexpr size_t kMostPreTokenizers = 256;

/// GPT-2's, which ByteLevel has built in.
constexpr const char* kByteLevelExpression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// `Whitespace`'s two kinds of words, in PCRE2's own dialect: here \w is that of Rust's regex, not Oniguruma's.
constexpr const char* kWordsExpression = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+)"
                                         R"(|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+)";

/// Finds the parts of a text, of each span alone.
using PartFinder = std::function<void(std::string_view, std::vector<Part>&)>;

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(PartFinder find, SplitBehavior behavior) : find_(std::move(find)), behavior_(behavior) {}
  void apply(Pieces& pieces) const override {
    std::vector<Span> spans;
    std::vector<Part> parts;
    for (const Span& span : pieces.spans) {
      parts.clear();
      find_(pieces.view(span), parts);
      append_split(span, parts, behavior_, spans);
    }
    pieces.spans = std::move(spans);
  }

 private:
  PartFinder find_;
  SplitBehavior behavior_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool adds_space, bool splits) : adds_space_(adds_space), splits_(splits) {}
  void apply(Pieces& pieces) const override {
    Pieces spelt;
    spelt.text.reserve(pieces.text.size() * 5 / 4);
    std::vector<TextRange> words;
    std::string spaced;
    for (const Span& span : pieces.spans) {
      std::string_view text = pieces.view(span);
      const bool adds = adds_space_ && text.front() != ' ';
      if (adds) text = spaced = ' ' + std::string(text);
      const size_t opening = span.opening > 0 && adds ? span.opening + 1 : span.opening;
      words.clear();
      splits_ ? expression_.find_all(text, words) : words.push_back({0, text.size()});
      for (const TextRange& word : words) {  // they cover the text: the expression has a branch for every character
        const size_t begin = spelt.text.size();
        for (size_t at = word.begin; at < word.end; ++at) spelt.text += byte_alphabet()[static_cast<uint8_t>(text[at])];
        spelt.spans.push_back({begin, spelt.text.size(), word.begin < opening ? spelt.text.size() - begin : 0});
      }
    }
    pieces = std::move(spelt);
  }

 private:
  bool adds_space_;
  bool splits_;
  Regex expression_{kByteLevelExpression, "ByteLevel"};
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<const PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  explicit MetaspacePreTokenizer(const Metaspace& metaspace) : metaspace_(metaspace) {}
  void apply(Pieces& pieces) const override {
    Pieces marked;
    std::vector<Part> parts;
    for (const Span& span : pieces.spans) {
      const Span made = append_marked(pieces, span, marked.text);
      if (!metaspace_.splits) {
        marked.spans.push_back(made);
        continue;
      }
      parts.clear();
      const std::string_view text = marked.view(made);
      const size_t mark_bytes = metaspace_.mark.size();
      size_t done = 0;
      for (size_t at = text.find(metaspace_.mark); at != std::string_view::npos;
           at = text.find(metaspace_.mark, done)) {
        if (done != at) parts.push_back({done, at, false});
        parts.push_back({at, at + mark_bytes, true});
        done = at + mark_bytes;
      }
      if (done != text.size()) parts.push_back({done, text.size(), false});
      append_split(made, parts, SplitBehavior::kMergedWithNext, marked.spans);
    }
    pieces = std::move(marked);
  }

 private:
  /// Writes the span with marks for spaces, and one in front where it is wanted.
  Span append_marked(const Pieces& pieces, const Span& span, std::string& text) const {
    const std::string_view from = pieces.view(span);
    const size_t begin = text.size();
    const bool wanted = metaspace_.scheme == Metaspace::Scheme::kAlways ||
                        (metaspace_.scheme == Metaspace::Scheme::kFirst && span.opening > 0);
    if (wanted && from.front() != ' ' && !from.starts_with(metaspace_.mark)) text += metaspace_.mark;
    size_t opening_end = text.size();
    for (size_t at = 0; at < from.size(); ++at) {
      from[at] == ' ' ? text += metaspace_.mark : text += from[at];
      if (at + 1 == span.opening) opening_end = text.size();
    }
    return {begin, text.size(), span.opening > 0 ? opening_end - begin : 0};
  }

  Metaspace metaspace_;
};

using MadePreTokenizer = std::unique_ptr<const PreTokenizer>;
using PreTokenizerMaker = MadePreTokenizer (*)(const JsonValue&, size_t depth);

MadePreTokenizer make_pre_tokenizer_step(const JsonValue& value, size_t depth);

MadePreTokenizer by_character(std::function<bool(char32_t)> is_match, SplitBehavior behavior) {
  return std::make_unique<SplitPreTokenizer>(
      [is_match = std::move(is_match)](std::string_view text, std::vector<Part>& parts) {
        parts_by_character(text, is_match, parts);
      },
      behavior);
}

MadePreTokenizer by_pattern(const Regex& pattern, bool inverts, SplitBehavior behavior) {
  return std::make_unique<SplitPreTokenizer>(
      [pattern, inverts](std::string_view text, std::vector<Part>& parts) {
        parts_by_matches(text, pattern, parts);
        for (Part& part : parts) part.matches ^= inverts;
      },
      behavior);
}

MadePreTokenizer make_split(const JsonValue& value, size_t) {
  const SplitBehavior behavior = split_behavior(value["behavior"], SplitBehavior::kRemoved);
  return by_pattern(pattern_of(value["pattern"]), value["invert"].flag(false), behavior);
}

MadePreTokenizer make_delimiter(const JsonValue& value, size_t) {
  const std::string delimiter = value["delimiter"].character("");
  size_t at = 0;
  const char32_t wanted = next_code_point(delimiter, at);
  return by_character([wanted](char32_t c) { return c == wanted; }, SplitBehavior::kRemoved);
}

MadePreTokenizer make_pre_tokenizer_sequence(const JsonValue& value, size_t depth) {
  std::vector<MadePreTokenizer> steps;
  for (const JsonValue& step : value["pretokenizers"].items(kMostPreTokenizers)) {
    steps.push_back(make_pre_tokenizer_step(step, depth + 1));
  }
  return std::make_unique<PreTokenizerSequence>(std::move(steps));
}

parallel::NameTable<PreTokenizerMaker> known_pre_tokenizers() {
  using Value = const JsonValue&;
  return {"pre-tokenizer",
          {{"ByteLevel",
            [](Value value, size_t) -> MadePreTokenizer {
              return std::make_unique<ByteLevelPreTokenizer>(value["add_prefix_space"].flag(true),
                                                             value["use_regex"].flag(true));
            }},
           {"Split", make_split},
           {"Digits",
            [](Value value, size_t) {
              const bool single = value["individual_digits"].flag(false);
              return by_character(is_numeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
            }},
           {"Metaspace",
            [](Value value, size_t) -> MadePreTokenizer {
              return std::make_unique<MetaspacePreTokenizer>(read_metaspace(value));
            }},
           {"Punctuation",
            [](Value value, size_t) {
              return by_character(is_punctuation, split_behavior(value["behavior"], SplitBehavior::kIsolated));
            }},
           {"Whitespace",
            [](Value, size_t) { return by_pattern(Regex::own(kWordsExpression), true, SplitBehavior::kRemoved); }},
           {"WhitespaceSplit", [](Value, size_t) { return by_character(is_white_space, SplitBehavior::kRemoved); }},
           {"CharDelimiterSplit", make_delimiter},
           {"Sequence", make_pre_tokenizer_sequence}}};
}

MadePreTokenizer make_pre_tokenizer_step(const JsonValue& value, size_t depth) {
  if (depth > kDeepestPreTokenizers) value.fail("too many sequences inside sequences");
  return value.pick(known_pre_tokenizers())(value, depth);
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonValue& value) {
  if (value.is_null()) return std::make_unique<PreTokenizerSequence>(std::vector<MadePreTokenizer>{});
  return make_pre_tokenizer_step(value, 0);
}

}  // namespace data
