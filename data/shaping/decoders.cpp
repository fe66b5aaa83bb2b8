#include "data/shaping/decoders.h"

#include <functional>
#include <utility>

#include "data/shaping/byte_alphabet.h"
#include "data/shaping/metaspace.h"
#include "data/shaping/replacement.h"
#include "data/text/utf8.h"

namespace data {
namespace {

constexpr size_t kDeepestDecoders = 16;
constexpr size_t kMostDecoders = 256;
constexpr int64_t kMostStripped = 1 << 20;

using Texts = std::vector<std::string>;

class StepDecoder : public Decoder {
 public:
  explicit StepDecoder(std::function<void(Texts&)> rewrite) : rewrite_(std::move(rewrite)) {}
  void apply(Texts& pieces) const override { rewrite_(pieces); }

 private:
  std::function<void(Texts&)> rewrite_;
};

std::string joined(const Texts& pieces, std::string_view between) {
  std::string text;
  for (const std::string& piece : pieces) {
    if (&piece != &pieces.front()) text += between;
    text += piece;
  }
  return text;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

void decode_byte_level(Texts& pieces) {
  std::string bytes;
  for (const std::string& piece : pieces) bytes += from_byte_alphabet(piece).value_or(piece);
  pieces = {replace_invalid_utf8(bytes)};
}

/// A run of byte pieces is their text, or a replacement character for each where it is none.
void decode_byte_fallback(Texts& pieces) {
  Texts decoded;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      decoded.push_back(bytes);
    } else {
      decoded.insert(decoded.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& piece : pieces) {
    if (const auto byte = byte_of_piece(piece)) {
      bytes.push_back(static_cast<char>(*byte));
      continue;
    }
    flush();
    decoded.push_back(std::move(piece));
  }
  flush();
  pieces = std::move(decoded);
}

/// At most so many of one character from both ends of each piece.
struct StripEnds {
  std::string character;
  int64_t start = 0;
  int64_t stop = 0;

  void operator()(Texts& pieces) const {
    for (std::string& piece : pieces) {
      std::string_view left = piece;
      for (int64_t i = 0; i < start && left.starts_with(character); ++i) left.remove_prefix(character.size());
      // `tokenizers` counts from the end of the whole piece, so the end may be cut off where the start was.
      std::string_view right = piece;
      for (int64_t i = 0; i < stop && right.ends_with(character); ++i) right.remove_suffix(character.size());
      const auto begin = static_cast<size_t>(left.data() - piece.data());
      piece = begin < right.size() ? std::string(right.substr(begin)) : "";
    }
  }
};

/// Spaces for marks; the first piece has none where a mark may have been put in front.
struct MetaspaceDecoding {
  Metaspace metaspace;

  void operator()(Texts& pieces) const {
    for (std::string& piece : pieces) {
      const bool first = &piece == &pieces.front() && metaspace.scheme != Metaspace::Scheme::kNever;
      replace_all(piece, metaspace.mark, first ? "" : " ");
    }
  }
};

struct SuffixDecoding {
  std::string suffix;

  void operator()(Texts& pieces) const {
    for (std::string& piece : pieces) replace_all(piece, suffix, &piece == &pieces.back() ? "" : " ");
  }
};

struct ReplaceDecoding {
  Replacement replacement;

  void operator()(Texts& pieces) const {
    for (std::string& piece : pieces) piece = replacement.apply(piece);
  }
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<const Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(Texts& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> steps_;
};

using MadeDecoder = std::unique_ptr<const Decoder>;
using DecoderMaker = MadeDecoder (*)(const JsonValue&, size_t depth);

MadeDecoder make_decoder_step(const JsonValue& value, size_t depth);

template <class Rewrite>
MadeDecoder step_decoder(Rewrite rewrite) {
  return std::make_unique<StepDecoder>(std::move(rewrite));
}

MadeDecoder make_decoder_sequence(const JsonValue& value, size_t depth) {
  std::vector<MadeDecoder> steps;
  for (const JsonValue& step : value["decoders"].items(kMostDecoders)) {
    steps.push_back(make_decoder_step(step, depth + 1));
  }
  return std::make_unique<DecoderSequence>(std::move(steps));
}

parallel::NameTable<DecoderMaker> known_decoders() {
  using Value = const JsonValue&;
  return {
      "decoder",
      {{"ByteLevel", [](Value, size_t) { return step_decoder(decode_byte_level); }},
       {"ByteFallback", [](Value, size_t) { return step_decoder(decode_byte_fallback); }},
       {"Fuse", [](Value, size_t) { return step_decoder([](Texts& pieces) { pieces = {joined(pieces, "")}; }); }},
       {"Strip",
        [](Value value, size_t) {
          return step_decoder(StripEnds{value["content"].character(""), value["start"].integer(0, kMostStripped),
                                        value["stop"].integer(0, kMostStripped)});
        }},
       {"Replace", [](Value value, size_t) { return step_decoder(ReplaceDecoding{Replacement(value)}); }},
       {"Metaspace", [](Value value, size_t) { return step_decoder(MetaspaceDecoding{read_metaspace(value)}); }},
       {"BPEDecoder", [](Value value, size_t) { return step_decoder(SuffixDecoding{value["suffix"].text("</w>")}); }},
       {"Sequence", make_decoder_sequence}}};
}

MadeDecoder make_decoder_step(const JsonValue& value, size_t depth) {
  if (depth > kDeepestDecoders) value.fail("too many sequences inside sequences");
  return value.pick(known_decoders())(value, depth);
}

}  // namespace

std::unique_ptr<const Decoder> make_decoder(const JsonValue& value) {
  if (value.is_null()) return step_decoder([](Texts& pieces) { pieces = {joined(pieces, " ")}; });
  return make_decoder_step(value, 0);
}

}  // namespace data
