#include "data/shaping/normalizers.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "data/shaping/byte_alphabet.h"
#include "data/shaping/charsmap.h"
#include "data/shaping/replacement.h"
#include "data/text/unicode.h"
#include "data/text/utf8.h"

namespace data {
namespace {

constexpr size_t kDeepestNormalizers = 16;
constexpr size_t kMostNormalizers = 256;

/// The text is another one now; its first character still stands for what the first one stood for.
void replace_text(Pieces& pieces, std::string text) {
  const bool opens = !pieces.spans.empty() && pieces.spans.front().opening > 0;
  pieces.text = std::move(text);
  pieces.spans.clear();
  if (pieces.text.empty()) return;
  pieces.spans.push_back({0, pieces.text.size(), opens ? code_point_bytes(pieces.text, 0) : 0});
}

/// Nothing of the text's first character is left.
void close_opening(Pieces& pieces) {
  if (!pieces.spans.empty()) pieces.spans.front().opening = 0;
}

class TextNormalizer : public Normalizer {
 public:
  explicit TextNormalizer(std::function<std::string(std::string_view)> rewrite) : rewrite_(std::move(rewrite)) {}
  void apply(Pieces& pieces) const override { replace_text(pieces, rewrite_(pieces.text)); }

 private:
  std::function<std::string(std::string_view)> rewrite_;
};

/// Leaves characters out.
class FilterNormalizer : public Normalizer {
 public:
  explicit FilterNormalizer(bool (*drops)(char32_t)) : drops_(drops) {}
  void apply(Pieces& pieces) const override {
    const std::string_view text = pieces.text;
    std::string kept;
    bool first_stays = true;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const bool drop = drops_(next_code_point(text, at));
      if (!drop) kept += text.substr(begin, at - begin);
      if (begin == 0) first_stays = !drop;
    }
    replace_text(pieces, std::move(kept));
    if (!first_stays) close_opening(pieces);
  }

 private:
  bool (*drops_)(char32_t);
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(Pieces& pieces) const override {
    const std::string_view text = pieces.text;
    size_t begin = text.size();
    size_t end = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t here = at;
      if (is_white_space(next_code_point(text, at))) continue;
      begin = std::min(begin, here);
      end = at;
    }
    const bool all_goes = begin == text.size() && (left_ || right_);
    if (!left_) begin = 0;
    if (!right_) end = text.size();
    replace_text(pieces, all_goes ? "" : std::string(text.substr(begin, end - begin)));
    if (begin > 0) close_opening(pieces);
  }

 private:
  bool left_;
  bool right_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(Pieces& pieces) const override {
    if (pieces.spans.empty()) return;
    const size_t opening = pieces.spans.front().opening;
    pieces.text.insert(0, prefix_);
    pieces.spans.front() = {0, pieces.text.size(), opening > 0 ? opening + prefix_.size() : 0};
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  explicit ReplaceNormalizer(const JsonValue& value) : replacement_(value) {}
  void apply(Pieces& pieces) const override {
    const bool drops_first = replacement_.content().empty() && replacement_.matches_start(pieces.text);
    replace_text(pieces, replacement_.apply(pieces.text));
    if (drops_first) close_opening(pieces);
  }

 private:
  Replacement replacement_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<const Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

// Nmt, the normaliser of Google's translation models.
bool is_dropped_by_nmt(char32_t c) {
  return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

bool is_space_to_nmt(char32_t c) {
  return c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
         c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

std::string spaces_of_nmt(std::string_view text) {
  std::string spaced;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    append_code_point(spaced, is_space_to_nmt(c) ? U' ' : c);
  }
  return spaced;
}

using MadeNormalizer = std::unique_ptr<const Normalizer>;
using NormalizerMaker = MadeNormalizer (*)(const JsonValue&, size_t depth);

MadeNormalizer make_normalizer_step(const JsonValue& value, size_t depth);

template <NormalForm form>
MadeNormalizer make_normal_form(const JsonValue&, size_t) {
  return std::make_unique<TextNormalizer>([](std::string_view text) { return normalize(text, form); });
}

MadeNormalizer make_nmt(const JsonValue&, size_t) {
  std::vector<MadeNormalizer> steps;
  steps.push_back(std::make_unique<FilterNormalizer>(is_dropped_by_nmt));
  steps.push_back(std::make_unique<TextNormalizer>(spaces_of_nmt));
  return std::make_unique<NormalizerSequence>(std::move(steps));
}

MadeNormalizer make_precompiled(const JsonValue& value, size_t) {
  const JsonValue table = value["precompiled_charsmap"];
  if (table.is_null() || table.text().empty())
    return std::make_unique<NormalizerSequence>(std::vector<MadeNormalizer>{});
  auto charsmap = std::make_shared<const Charsmap>(decode_base64(table.text(), table.place()), table.place());
  return std::make_unique<TextNormalizer>([charsmap](std::string_view text) { return charsmap->normalize(text); });
}

MadeNormalizer make_normalizer_sequence(const JsonValue& value, size_t depth) {
  std::vector<MadeNormalizer> steps;
  for (const JsonValue& step : value["normalizers"].items(kMostNormalizers)) {
    steps.push_back(make_normalizer_step(step, depth + 1));
  }
  return std::make_unique<NormalizerSequence>(std::move(steps));
}

parallel::NameTable<NormalizerMaker> known_normalizers() {
  using Value = const JsonValue&;
  return {
      "normalizer",
      {{"NFC", make_normal_form<NormalForm::kNfc>},
       {"NFD", make_normal_form<NormalForm::kNfd>},
       {"NFKC", make_normal_form<NormalForm::kNfkc>},
       {"NFKD", make_normal_form<NormalForm::kNfkd>},
       {"Lowercase",
        [](Value, size_t) -> MadeNormalizer { return std::make_unique<TextNormalizer>(lowercase_characters); }},
       {"StripAccents", [](Value, size_t) -> MadeNormalizer { return std::make_unique<FilterNormalizer>(is_mark); }},
       {"Strip",
        [](Value value, size_t) -> MadeNormalizer {
          return std::make_unique<StripNormalizer>(value["strip_left"].flag(true), value["strip_right"].flag(true));
        }},
       {"Prepend",
        [](Value value, size_t) -> MadeNormalizer {
          return std::make_unique<PrependNormalizer>(value["prepend"].text());
        }},
       {"Replace", [](Value value, size_t) -> MadeNormalizer { return std::make_unique<ReplaceNormalizer>(value); }},
       {"ByteLevel",
        [](Value, size_t) -> MadeNormalizer { return std::make_unique<TextNormalizer>(to_byte_alphabet); }},
       {"Nmt", make_nmt},
       {"Precompiled", make_precompiled},
       {"Sequence", make_normalizer_sequence}}};
}

MadeNormalizer make_normalizer_step(const JsonValue& value, size_t depth) {
  if (depth > kDeepestNormalizers) value.fail("too many sequences inside sequences");
  return value.pick(known_normalizers())(value, depth);
}

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const JsonValue& value) {
  if (value.is_null()) return std::make_unique<NormalizerSequence>(std::vector<MadeNormalizer>{});
  return make_normalizer_step(value, 0);
}

}  // namespace data
