#include "data/prepare/encoding_share.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "data/hdf5/checksum.h"
#include "data/prepare/document_parts.h"
#include "data/prepare/encoding.h"
#include "data/sources/workers.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

std::string tokens_name(size_t stretch) { return parallel::concat("tokens_", stretch); }
std::string texts_name(size_t stretch) { return parallel::concat("texts_", stretch); }
constexpr const char* kPlanName = "to_encode";

/// What encoding needs of them.
std::string packed_documents_to_encode(const std::vector<const SourceDocument*>& documents) {
  PartWriter part;
  for (const SourceDocument* document : documents) {
    part.text(document->text);
    write_messages(part, document->messages);
    if (!document->messages.empty()) part.text(document->name);  // for messages
  }
  return part.content();
}

std::vector<SourceDocument> unpacked_documents_to_encode(std::string_view content) {
  std::vector<SourceDocument> documents;
  for (PartReader part(content); !part.at_end();) {
    SourceDocument& document = documents.emplace_back();
    document.text = part.text();
    document.messages = read_messages(part);
    if (!document.messages.empty()) document.name = part.text();
  }
  return documents;
}

template <class Element>
void write_elements(PartWriter& part, const std::vector<Element>& elements) {
  part.text({reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(Element)});
}

template <class Element>
std::vector<Element> read_elements(PartReader& part) {
  const std::string_view bytes = part.text();
  std::vector<Element> elements(bytes.size() / sizeof(Element));
  if (!bytes.empty()) std::memcpy(elements.data(), bytes.data(), bytes.size());
  return elements;
}

std::string packed_encoded(const EncodedDocuments& encoded) {
  PartWriter part;
  part.number(encoded.changed);
  for (const EncodedDocument& document : encoded.documents) {
    part.number(document.bytes);
    write_elements(part, document.tokens);
    write_elements(part, document.learned);
  }
  return part.content();
}

void append_encoded(std::string_view content, EncodedDocuments& all) {
  PartReader part(content);
  all.changed += part.number();
  while (!part.at_end()) {
    EncodedDocument& document = all.documents.emplace_back();
    document.bytes = part.number();
    document.tokens = read_elements<int32_t>(part);
    document.learned = read_elements<uint8_t>(part);
  }
}

}  // namespace

void EncodingShare::plan(const std::vector<SourceDocument>& documents, std::shared_ptr<const Tokenizer> tokenizer) {
  tokenizer_ = std::move(tokenizer);
  const std::string with = tokenizer_hash(*tokenizer_) + " " + options_.chat.name + "\n" + options_.chat.system + "\n";
  for (const SourceDocument& document : documents) {
    if (stretches_.empty() || stretches_.back().bytes >= options_.stretch_bytes) stretches_.emplace_back();
    stretches_.back().documents.push_back(&document);
    stretches_.back().bytes += static_cast<int64_t>(document.text.size());
  }
  for_each_index(std::ssize(stretches_), options_.threads, [&](int64_t index) {
    Stretch& stretch = stretches_[static_cast<size_t>(index)];
    const std::string content = packed_documents_to_encode(stretch.documents);
    stretch.key = with + checksum(content.data(), content.size());
  });
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
    parts_.write(texts_name(s), stretches_[s].key, packed_documents_to_encode(stretches_[s].documents));
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

void EncodingShare::encode_stretch(const Left& left, const Tokenizer& tokenizer, int64_t threads,
                                   const std::function<void(int64_t)>& advance) const {
  std::vector<SourceDocument> unpacked;
  std::vector<const SourceDocument*> documents = left.documents;
  if (documents.empty()) {
    const auto content = parts_.read(texts_name(left.stretch), left.key);
    parallel::check_internal(content.has_value(), "part ", texts_name(left.stretch), " is not there");
    unpacked = unpacked_documents_to_encode(*content);
    for (const SourceDocument& document : unpacked) documents.push_back(&document);
  }
  parts_.write(tokens_name(left.stretch), left.key,
               packed_encoded(encode_documents(documents, tokenizer, options_, threads, advance)));
}

void EncodingShare::encode_all_of(const std::vector<Left>& all, const Tokenizer& tokenizer,
                                  const std::function<void(int64_t)>& advance) const {
  const int64_t threads = threads_or_cores(threads_each(options_, team_));
  const auto is_long = [&](const Left& left) { return left.bytes > 2 * options_.stretch_bytes; };
  std::vector<const Left*> ordinary;
  for (const Left& left : all) {
    if (is_long(left)) {
      encode_stretch(left, tokenizer, threads, advance);
    } else {
      ordinary.push_back(&left);
    }
  }
  const int64_t each = std::max<int64_t>(1, threads / std::max<int64_t>(1, std::ssize(ordinary)));
  for_each_index(std::ssize(ordinary), threads, [&](int64_t index) {
    encode_stretch(*ordinary[static_cast<size_t>(index)], tokenizer, each, advance);
  });
}

void EncodingShare::encode() const {
  if (!team_.is_alone()) return encode_planned();
  int64_t bytes = 0;
  std::vector<Left> all;
  for (const size_t s : unfinished()) {
    all.push_back({s, stretches_[s].key, stretches_[s].bytes, stretches_[s].documents});
    bytes += stretches_[s].bytes;
  }
  encode_all_of(all, *tokenizer_, phase_progress(options_, "encoding", bytes));
}

void EncodingShare::encode_planned() const {
  const auto plan = parts_.read(kPlanName, "");
  if (!plan) parallel::user_error(options_.output, ": the ranks do not share its folder; prepare on one file system");
  PartReader reader(*plan);
  const std::string kind(reader.text());
  const auto tokenizer = options_.tokenizers.at(kind).load(std::string(reader.text()));
  std::vector<Left> mine;
  int64_t bytes = 0;
  for (int64_t i = 0; !reader.at_end(); ++i) {
    const auto stretch = static_cast<size_t>(reader.number());
    std::string key(reader.text());
    const int64_t size = reader.number();
    if (i % team_.shard.count != team_.shard.index) continue;
    mine.push_back({stretch, std::move(key), size, {}});
    bytes += size;
  }
  const auto of_share = phase_progress(options_, "encoding", bytes * team_.shard.count);
  // The others are about as far.
  encode_all_of(mine, *tokenizer, [&](int64_t done) { of_share(done * team_.shard.count); });
}

EncodedDocuments EncodingShare::encoded() const {
  std::vector<EncodedDocuments> of_stretch(stretches_.size());
  for_each_index(std::ssize(stretches_), options_.threads, [&](int64_t index) {
    const auto s = static_cast<size_t>(index);
    const auto content = parts_.read(tokens_name(s), stretches_[s].key);
    parallel::check_internal(content.has_value(), "part ", tokens_name(s), " is not there");
    append_encoded(*content, of_stretch[s]);
  });
  EncodedDocuments all;
  for (EncodedDocuments& some : of_stretch) {
    all.changed += some.changed;
    all.documents.insert(all.documents.end(), std::make_move_iterator(some.documents.begin()),
                         std::make_move_iterator(some.documents.end()));
  }
  return all;
}

}  // namespace data
