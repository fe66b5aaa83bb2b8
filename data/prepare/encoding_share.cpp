#include "data/prepare/encoding_share.h"

#include <cstring>
#include <iterator>
#include <utility>

#include "data/hdf5/checksum.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

std::string tokens_name(size_t stretch) { return parallel::concat("tokens_", stretch); }
std::string texts_name(size_t stretch) { return parallel::concat("texts_", stretch); }
constexpr const char* kPlanName = "to_encode";

std::string packed_texts(const std::vector<std::string_view>& texts) {
  PartWriter part;
  for (const std::string_view text : texts) part.text(text);
  return part.content();
}

std::vector<std::string_view> unpacked_texts(std::string_view content) {
  std::vector<std::string_view> texts;
  for (PartReader part(content); !part.at_end();) texts.push_back(part.text());
  return texts;
}

std::string packed_tokens(const EncodedTexts& encoded) {
  PartWriter part;
  part.number(encoded.changed);
  for (const std::vector<int32_t>& tokens : encoded.tokens) {
    part.text({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t)});
  }
  return part.content();
}

void append_tokens(std::string_view content, EncodedTexts& all) {
  PartReader part(content);
  all.changed += part.number();
  while (!part.at_end()) {
    const std::string_view bytes = part.text();
    std::vector<int32_t>& tokens = all.tokens.emplace_back(bytes.size() / sizeof(int32_t));
    if (!bytes.empty()) std::memcpy(tokens.data(), bytes.data(), bytes.size());
  }
}

}  // namespace

void EncodingShare::plan(const std::vector<std::string_view>& texts, std::shared_ptr<const Tokenizer> tokenizer) {
  tokenizer_ = std::move(tokenizer);
  const std::string hash = tokenizer_hash(*tokenizer_);
  for (const std::string_view text : texts) {
    if (stretches_.empty() || stretches_.back().bytes >= options_.stretch_bytes) stretches_.emplace_back();
    stretches_.back().texts.push_back(text);
    stretches_.back().bytes += static_cast<int64_t>(text.size());
  }
  for (Stretch& stretch : stretches_) {
    const std::string content = packed_texts(stretch.texts);
    stretch.key = hash + " " + checksum(content.data(), content.size());
  }
  if (!team_.is_alone()) write_plan();
}

/// For the others, who have neither texts nor tokenizer: what is still to be done.
void EncodingShare::write_plan() const {
  PartWriter plan;
  plan.text(tokenizer_->kind());
  plan.text(tokenizer_->serialized());
  for (const size_t s : unfinished()) {
    plan.number(static_cast<int64_t>(s));
    plan.text(stretches_[s].key);
    plan.number(stretches_[s].bytes);
    parts_.write(texts_name(s), stretches_[s].key, packed_texts(stretches_[s].texts));
  }
  parts_.write(kPlanName, "", plan.content());
}

std::vector<size_t> EncodingShare::unfinished() const {
  std::vector<size_t> left;
  for (size_t s = 0; s < stretches_.size(); ++s) {
    if (!parts_.read(tokens_name(s), stretches_[s].key)) left.push_back(s);
  }
  return left;
}

void EncodingShare::encode_stretch(const std::string& name, const std::string& key,
                                   const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                   const std::function<void(int64_t)>& advance) const {
  parts_.write(name, key, packed_tokens(encode_texts(texts, tokenizer, threads_each(options_, team_), advance)));
}

void EncodingShare::encode() const {
  if (!team_.is_alone()) return encode_planned();
  int64_t bytes = 0;
  const std::vector<size_t> left = unfinished();
  for (const size_t s : left) bytes += stretches_[s].bytes;
  const auto advance = phase_progress(options_, "encoding", bytes);
  for (const size_t s : left) {
    encode_stretch(tokens_name(s), stretches_[s].key, stretches_[s].texts, *tokenizer_, advance);
  }
}

void EncodingShare::encode_planned() const {
  const auto plan = parts_.read(kPlanName, "");
  if (!plan) parallel::user_error(options_.output, ": the ranks do not share its folder; prepare on one file system");
  PartReader reader(*plan);
  const std::string kind(reader.text());
  const auto tokenizer = options_.tokenizers.at(kind).load(std::string(reader.text()));
  struct Left {
    size_t stretch;
    std::string key;
  };
  std::vector<Left> mine;
  int64_t bytes = 0;
  for (int64_t i = 0; !reader.at_end(); ++i) {
    const auto stretch = static_cast<size_t>(reader.number());
    std::string key(reader.text());
    const int64_t size = reader.number();
    if (i % team_.shard.count != team_.shard.index) continue;
    mine.push_back({stretch, std::move(key)});
    bytes += size;
  }
  const auto of_share = phase_progress(options_, "encoding", bytes * team_.shard.count);
  const auto advance = [&](int64_t done) { of_share(done * team_.shard.count); };  // the others are about as far
  for (const Left& left : mine) {
    const auto content = parts_.read(texts_name(left.stretch), left.key);
    parallel::check_internal(content.has_value(), "part ", texts_name(left.stretch), " is not there");
    encode_stretch(tokens_name(left.stretch), left.key, unpacked_texts(*content), *tokenizer, advance);
  }
}

EncodedTexts EncodingShare::tokens() const {
  EncodedTexts all;
  for (size_t s = 0; s < stretches_.size(); ++s) {
    const auto content = parts_.read(tokens_name(s), stretches_[s].key);
    parallel::check_internal(content.has_value(), "part ", tokens_name(s), " is not there");
    append_tokens(*content, all);
  }
  return all;
}

}  // namespace data
