#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <utility>

#include "data/text/utf8.h"
#include "data/tokenizers/control_pieces.h"
#include "data/tokenizers/sentencepiece_tokenizer.h"

namespace data {
namespace {

constexpr double kCharacterCoverage = 0.9995;  // the rarest characters beyond this share are left to byte pieces

// The trainer skips sentences longer than its limit and sentences that hold its own marks, with no more than a log
// line. Both are cut here instead, so that nothing is lost.
constexpr size_t kLongestSentence = 4000;                                        // bytes; its limit is 4192
constexpr std::string_view kTrainerMarks[] = {"\n", "\xE2\x96\x85", {"\0", 1}};  // U+2585 is its "unknown"

/// The next sentence of `rest`, which is cut off its front; at a space where there is one.
std::string_view cut_sentence(std::string_view& rest) {
  size_t length = rest.size();
  size_t skipped = 0;
  for (const std::string_view mark : kTrainerMarks) {
    const size_t at = rest.substr(0, std::min(length + mark.size(), rest.size())).find(mark);
    if (at >= length) continue;
    length = at;
    skipped = mark.size();
  }
  if (length > kLongestSentence) {
    skipped = 0;
    length = kLongestSentence;
    while ((static_cast<uint8_t>(rest[length]) & 0xC0) == 0x80) --length;
    const size_t space = rest.rfind(' ', length);
    if (space != std::string_view::npos && space > 0) length = space;
  }
  const std::string_view sentence = rest.substr(0, length);
  rest.remove_prefix(length + skipped);
  return sentence;
}

/// The sentences of the texts, one at a time, as the trainer asks for them.
class SentenceFeed : public sentencepiece::SentenceIterator {
 public:
  SentenceFeed(std::vector<std::string_view> texts, int64_t spaces) : texts_(std::move(texts)), spaces_left_(spaces) {
    Next();
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    while (!rest_.empty() || next_text_ < texts_.size()) {
      if (rest_.empty()) rest_ = texts_[next_text_++];
      sentence_ = cut_sentence(rest_);
      if (!sentence_.empty()) return;
    }
    done_ = spaces_left_-- <= 0;
    sentence_ = " ";
  }

 private:
  std::vector<std::string_view> texts_;
  int64_t spaces_left_;
  size_t next_text_ = 0;
  std::string_view rest_;
  std::string sentence_;
  bool done_ = false;
};

int64_t total_bytes(const std::vector<std::string_view>& texts) {
  int64_t total = 0;
  for (const std::string_view text : texts) total += static_cast<int64_t>(text.size());
  return total;
}

/// Whole texts spread evenly: a text is taken whenever the wanted share of the bytes seen so far is not yet reached.
std::vector<std::string_view> sample_texts(const std::vector<std::string_view>& texts, int64_t most_bytes) {
  const int64_t total = total_bytes(texts);
  if (total <= most_bytes) return texts;
  const double share = static_cast<double>(most_bytes) / static_cast<double>(total);
  std::vector<std::string_view> sample;
  double seen = 0;
  int64_t taken = 0;
  for (std::string_view text : texts) {
    if (static_cast<double>(taken) <= share * seen) {
      // One text may be larger than the whole sample: then its beginning serves.
      size_t length = std::min(text.size(), static_cast<size_t>(most_bytes - taken));
      while (length < text.size() && (static_cast<uint8_t>(text[length]) & 0xC0) == 0x80) --length;
      sample.push_back(text.substr(0, length));
      taken += static_cast<int64_t>(length);
    }
    seen += static_cast<double>(text.size());
  }
  return sample;
}

/// How many spaces to add as sentences of their own. The space must become a piece also where the text has hardly any,
/// or its mark would come back from byte pieces as a character; a share of 1/200 is far above what coverage leaves out.
int64_t missing_spaces(const std::vector<std::string_view>& texts) {
  int64_t spaces = 0;
  for (const std::string_view text : texts) spaces += std::count(text.begin(), text.end(), ' ');
  return std::max<int64_t>(0, 1 + total_bytes(texts) / 200 - spaces);
}

std::unordered_map<std::string, std::string> trainer_settings(const TokenizerTraining& training) {
  std::unordered_map<std::string, std::string> settings = {{"model_type", "bpe"},
                                                           {"vocab_size", std::to_string(training.vocabulary_size)},
                                                           {"character_coverage", std::to_string(kCharacterCoverage)},
                                                           {"byte_fallback", "true"},
                                                           {"normalization_rule_name", "identity"},
                                                           {"add_dummy_prefix", "false"},
                                                           {"remove_extra_whitespaces", "false"},
                                                           {"allow_whitespace_only_pieces", "true"},
                                                           {"unk_id", "0"},
                                                           {"bos_id", "1"},
                                                           {"eos_id", "2"},
                                                           {"pad_id", "-1"},
                                                           {"num_threads", "1"},
                                                           {"minloglevel", "2"}};
  std::string controls;
  for (const std::string& name : training.controls) controls += (controls.empty() ? "" : ",") + name;
  // Only where there are any: the settings are stored inside the model, whose bytes must not change without need.
  if (!controls.empty()) settings.emplace("control_symbols", controls);
  return settings;
}

/// The number after `words` in the trainer's message, or -1.
int64_t number_after(const std::string& message, const std::string& words) {
  const size_t at = message.find(words);
  return at == std::string::npos ? -1 : std::strtoll(message.c_str() + at + words.size(), nullptr, 10);
}

/// "./src/x.cc(660) [(a) == (b)] Vocabulary size too high" without what stands before the words.
std::string without_source_place(const std::string& message) {
  const size_t end = message.find("] ");
  return end == std::string::npos ? message : message.substr(end + 2);
}

/// What to do about a vocabulary that cannot be trained, in this program's words: the trainer names options of its own.
std::string advice_of(const std::string& message, const TokenizerTraining& training) {
  const int64_t most = number_after(message, "Please set it to a value <= ");
  const int64_t least = number_after(message, parallel::concat(training.vocabulary_size, " vs "));
  const int64_t controls = 3 + static_cast<int64_t>(training.controls.size());
  if (message.find("too high") != std::string::npos && most > 256 + controls) {
    return parallel::concat("there are not so many different parts of words in it; give --vocabulary a value <= ",
                            most);
  }
  if (message.find("too high") != std::string::npos) return "it is too little text for any vocabulary; give more text";
  if (message.find("required_chars") != std::string::npos && least > 0) {
    return parallel::concat("its characters, 256 byte pieces and ", controls, " control pieces need at least ", least,
                            "; give --vocabulary that or more");
  }
  return without_source_place(message);
}

}  // namespace

std::shared_ptr<const Tokenizer> train_sentencepiece(const std::vector<std::string_view>& texts,
                                                     const TokenizerTraining& training) {
  if (total_bytes(texts) == 0) parallel::user_error("there is no text to train a tokenizer on");
  require_control_names(training.controls);
  const int64_t controls = 3 + static_cast<int64_t>(training.controls.size());
  if (training.vocabulary_size <= 256 + controls) {
    parallel::user_error("a SentencePiece vocabulary of ", training.vocabulary_size, " is too small: 256 byte pieces, ",
                         controls, " control pieces and the characters of the text need more than ", 256 + controls);
  }
  const std::vector<std::string_view> sample = sample_texts(texts, training.sample_bytes);
  SentenceFeed feed(sample, missing_spaces(sample));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(trainer_settings(training), &feed, &model);
  if (!status.ok()) {
    parallel::user_error("cannot train a SentencePiece vocabulary of ", training.vocabulary_size, " on ",
                         total_bytes(texts), " bytes of text: ", advice_of(status.message(), training),
                         " (or use --tokenizer byte, which needs no training)");
  }
  return load_sentencepiece(model);
}

}  // namespace data
