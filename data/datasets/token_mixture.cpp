#include "data/datasets/token_mixture.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "data/hdf5/checksum.h"
#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"

namespace data {
namespace {

[[noreturn]] void refuse_files(const std::string& text, const std::string& reason) {
  parallel::user_error("data.file = \"", text, "\": ", reason,
                       "; legal: one token file, or several with weights above 0, such as ",
                       "\"work/a.h5:3,work/b.h5:1\"");
}

TokenFile parse_token_file(const std::string& text, std::string_view item) {
  const size_t colon = item.rfind(':');
  TokenFile file{std::string(parallel::trimmed(item.substr(0, colon)))};
  if (file.path.empty()) refuse_files(text, "a file's name is missing");
  if (colon == std::string_view::npos) return file;
  const std::string_view weight = parallel::trimmed(item.substr(colon + 1));
  const auto [end, error] = std::from_chars(weight.data(), weight.data() + weight.size(), file.weight);
  if (error != std::errc{} || end != weight.data() + weight.size() || !std::isfinite(file.weight) || file.weight <= 0) {
    refuse_files(text, parallel::concat(file.path, " has the weight '", weight, "'"));
  }
  return file;
}

std::string stem_of(const std::string& path) { return std::filesystem::path(path).stem().string(); }

/// Of a file among others.
std::string source_name(const TokenFile& file, const std::vector<TokenFile>& all) {
  const std::string stem = stem_of(file.path);
  const auto alike = std::ranges::count_if(all, [&](const TokenFile& other) { return stem_of(other.path) == stem; });
  return alike > 1 ? file.path : stem;
}

std::string fingerprint_of(const std::vector<TokenMixture::Source>& sources) {
  if (sources.size() == 1) return sources.front().corpus.fingerprint();
  std::string parts;
  for (const TokenMixture::Source& source : sources) {
    parts += parallel::concat(source.corpus.fingerprint(), ":", source.file.weight, ",");
  }
  return checksum(parts.data(), parts.size());
}

}  // namespace

std::vector<TokenFile> parse_token_files(const std::string& text) {
  if (text.find(',') == std::string::npos) return {{text}};
  std::vector<TokenFile> files;
  for (const std::string_view item : parallel::split(text, ',')) {
    TokenFile file = parse_token_file(text, item);
    const auto same = [&](const TokenFile& other) {
      return std::filesystem::path(other.path).lexically_normal() ==
             std::filesystem::path(file.path).lexically_normal();
    };
    if (std::ranges::any_of(files, same)) refuse_files(text, file.path + " comes twice");
    files.push_back(std::move(file));
  }
  return files;
}

std::string token_files_text(const std::vector<TokenFile>& files) {
  if (files.size() == 1) return files.front().path;
  std::string text;
  for (const TokenFile& file : files) {
    text += parallel::concat(text.empty() ? "" : ",", file.path, ":", file.weight);
  }
  return text;
}

TokenMixture TokenMixture::open(const std::string& files, Verify verify, const TokenizerTable& tokenizers) {
  const std::vector<TokenFile> all = parse_token_files(files);
  std::vector<Source> sources;
  for (const TokenFile& file : all) {
    sources.push_back({source_name(file, all), file, TokenCorpus::open(file.path, verify, tokenizers)});
    const TokenCorpus& first = sources.front().corpus;
    const TokenCorpus& last = sources.back().corpus;
    if (last.tokenizer_hash() == first.tokenizer_hash()) continue;
    parallel::user_error("data.file: ", file.path, " was made with another tokenizer (", last.tokenizer().kind(), ", ",
                         last.tokenizer_hash(), ") than ", all.front().path, " (", first.tokenizer().kind(), ", ",
                         first.tokenizer_hash(), "); legal: files of one tokenizer (prepare --tokenizer ",
                         all.front().path, " takes that file's)");
  }
  return TokenMixture(std::move(sources));
}

TokenMixture::TokenMixture(TokenCorpus only) : TokenMixture(std::vector<Source>{{"", {}, std::move(only)}}) {}

TokenMixture::TokenMixture(std::vector<Source> sources)
    : sources_(std::move(sources)), fingerprint_(fingerprint_of(sources_)) {
  for (Source& source : sources_) {
    source.first_group = static_cast<int64_t>(groups_.size());
    const std::vector<std::string>& own = source.corpus.groups();
    for (const std::string& group : own) {
      const bool alone = sources_.size() == 1;
      groups_.push_back(alone ? group : own.size() == 1 ? source.name : source.name + "/" + group);
    }
  }
}

const TokenCorpus& TokenMixture::only(const std::string& reader) const {
  if (sources_.size() == 1) return sources_.front().corpus;
  parallel::user_error("data.file names ", sources_.size(), " token files, and ", reader,
                       " reads one; legal: one file");
}

std::optional<ChatForm> TokenMixture::chat() const {
  for (const Source& source : sources_) {
    if (source.corpus.chat()) return source.corpus.chat();
  }
  return std::nullopt;
}

}  // namespace data
